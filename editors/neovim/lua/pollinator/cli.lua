-- The only way to the daemon: the command line program, whose JSON lines are read as they come.
local M = {}

local function config()
  return require("pollinator").config
end

--- Tell the user something. Levels are those of vim.log.levels.
--- @param text string
--- @param level number|nil
function M.tell(text, level)
  vim.notify("pollinator: " .. text, level or vim.log.levels.INFO)
end

--- The program with these arguments.
--- @param arguments string[]
--- @return string[]
function M.command(arguments)
  local command = {}
  vim.list_extend(command, config().program)
  return vim.list_extend(command, arguments)
end

--- Whether the program can be started; says so when not.
--- @return boolean
function M.installed()
  local program = config().program[1]
  if vim.fn.executable(program) == 1 then
    return true
  end
  local hint = "Install it, or name it: require('pollinator').setup({ program = '/path/to/pollinator' })"
  M.tell(("%q was not found. %s"):format(program, hint), vim.log.levels.ERROR)
  return false
end

--- A JSON text as a table; nil where it is none. What is null is left out.
--- @param text string
--- @return table|nil
function M.decoded(text)
  local decode = vim.json and vim.json.decode or vim.fn.json_decode
  local is_json, value = pcall(decode, text)
  if not is_json or type(value) ~= "table" then
    return nil
  end
  return M.without_null(value)
end

--- @param value table
--- @return table
function M.without_null(value)
  for key, each in pairs(value) do
    if each == vim.NIL then
      value[key] = nil
    elseif type(each) == "table" then
      M.without_null(each)
    end
  end
  return value
end

-- Pieces of a stream as whole lines: a piece that is not ended waits for the next call.
local function line_splitter(on_line)
  local begun = {}
  return function(_, pieces)
    for index, piece in ipairs(pieces) do
      if index > 1 then
        local line = table.concat(begun)
        begun = {}
        if line ~= "" then
          on_line(line)
        end
      end
      if piece ~= "" then
        begun[#begun + 1] = piece
      end
    end
  end
end

--- Start the program and read its JSON lines.
---
--- @param arguments string[]
--- @param options table root: folder to be in; on_json(table) for each line; on_end(code, messages) once it has ended;
---   input: text for its stdin
--- @return number|nil the job, to be given to stop()
function M.start(arguments, options)
  if not M.installed() then
    return nil
  end
  local messages = {}
  local job = vim.fn.jobstart(M.command(arguments), {
    cwd = options.root,
    -- What it says is put into messages of the editor.
    env = { NO_COLOR = "1" },
    stdin = options.input and "pipe" or "null",
    on_stdout = line_splitter(function(line)
      local value = M.decoded(line)
      if value and options.on_json then
        options.on_json(value)
      end
    end),
    on_stderr = line_splitter(function(line)
      messages[#messages + 1] = line
    end),
    on_exit = function(_, code)
      if options.on_end then
        options.on_end(code, messages)
      end
    end,
  })
  if job <= 0 then
    M.tell("the program could not be started", vim.log.levels.ERROR)
    return nil
  end
  if options.input then
    vim.fn.chansend(job, options.input)
    vim.fn.chanclose(job, "stdin")
  end
  return job
end

--- End a job; the run that it follows goes on.
--- @param job number|nil
function M.stop(job)
  if job then
    pcall(vim.fn.jobstop, job)
  end
end

--- Ask for something and get all of it at once.
--- @param arguments string[]
--- @param root string|nil
--- @param on_answer function called with (list of tables, code, messages)
--- @param input string|nil text for stdin
--- @return number|nil
function M.ask(arguments, root, on_answer, input)
  local found = {}
  return M.start(arguments, {
    root = root,
    input = input,
    on_json = function(value)
      found[#found + 1] = value
    end,
    on_end = function(code, messages)
      on_answer(found, code, messages)
    end,
  })
end

--- What the program said went wrong, for people: its last words from `Error:` on.
--- @param messages string[]
--- @return string
function M.complaint(messages)
  for index, line in ipairs(messages) do
    if vim.startswith(line, "Error:") or vim.startswith(line, "Usage:") then
      return table.concat(vim.list_slice(messages, index), "\n")
    end
  end
  return table.concat(messages, "\n")
end

return M
