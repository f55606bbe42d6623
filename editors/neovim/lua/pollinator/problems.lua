-- Places in sources: the quickfix list, and marks in the buffers.
local cli = require("pollinator.cli")

local M = {}

local OF_RUNS = vim.api.nvim_create_namespace("pollinator-run")
local OF_SPECS = vim.api.nvim_create_namespace("pollinator-spec")
local SEVERITIES = { warning = vim.diagnostic.severity.WARN, info = vim.diagnostic.severity.INFO }
-- How the titles of our quickfix lists begin.
local OURS = "pollinator "
local LETTERS = { warning = "W", info = "I" }

-- Byte of a character of a line, the first is 0; the file need not be loaded, then each is taken for one byte.
local function byte_of(buffer, line, character)
  local text = vim.api.nvim_buf_is_loaded(buffer) and vim.api.nvim_buf_get_lines(buffer, line - 1, line, false)[1]
  local byte = text and vim.fn.byteidx(text, character - 1) or character - 1
  return byte < 0 and #text or byte
end

local function path_of(problem)
  return problem.root ~= "" and problem.root .. "/" .. problem.path or problem.path
end

local function text_of(problem)
  local text = problem.message ~= "" and problem.message or problem.code
  return problem.hint ~= "" and ("%s (%s)"):format(text, problem.hint) or text
end

local function diagnostic(buffer, problem)
  local line = math.max(1, problem.line)
  local from = problem.column > 0 and byte_of(buffer, line, problem.column) or 0
  local to = problem.end_column > 0 and byte_of(buffer, line, problem.end_column) or nil
  return {
    lnum = line - 1,
    col = from,
    end_lnum = line - 1,
    end_col = to,
    severity = SEVERITIES[problem.severity] or vim.diagnostic.severity.ERROR,
    message = text_of(problem),
    source = "pollinator",
    code = problem.code,
  }
end

local function by_buffer(problems)
  local found = {}
  for _, problem in ipairs(problems) do
    local buffer = vim.fn.bufadd(path_of(problem))
    found[buffer] = found[buffer] or {}
    table.insert(found[buffer], diagnostic(buffer, problem))
  end
  return found
end

--- As entries of the quickfix list.
--- @param problems table[]
--- @return table[]
function M.entries(problems)
  return vim.tbl_map(function(problem)
    local buffer = vim.fn.bufadd(path_of(problem))
    return {
      bufnr = buffer,
      lnum = problem.line,
      col = problem.column > 0 and byte_of(buffer, math.max(1, problem.line), problem.column) + 1 or 0,
      type = LETTERS[problem.severity] or "E",
      text = text_of(problem),
    }
  end, problems)
end

--- Forget what an earlier run said.
function M.clear()
  vim.diagnostic.reset(OF_RUNS)
end

-- Fill the quickfix list and open its window. A run without problems closes the list of an earlier one, and leaves
-- what others have put there.
local function list(problems, title)
  if #problems == 0 and not vim.startswith(vim.fn.getqflist({ title = 0 }).title, OURS) then
    return
  end
  vim.fn.setqflist({}, " ", { title = title, items = M.entries(problems) })
  if #problems == 0 then
    vim.cmd("cclose")
    return
  end
  local window = vim.api.nvim_get_current_win()
  vim.cmd("botright copen " .. math.min(10, #problems + 1))
  if vim.api.nvim_win_is_valid(window) then
    vim.api.nvim_set_current_win(window)
  end
end

--- Mark what a run said about the sources, and list it; the window of the list opens, and the cursor stays.
--- @param problems table[]
--- @param run string the run's id
function M.show(problems, run)
  local config = require("pollinator").config
  M.clear()
  if config.marks then
    for buffer, diagnostics in pairs(by_buffer(problems)) do
      vim.diagnostic.set(OF_RUNS, buffer, diagnostics)
    end
  end
  if config.quickfix then
    list(problems, OURS .. run)
  end
end

--- Show the marks of a file that has just been read.
--- @param buffer number
function M.show_marks(buffer)
  vim.diagnostic.show(OF_RUNS, buffer)
end

--- Ask which places the output of a run names, and show them.
--- @param named string
--- @param root string|nil
function M.of_run(named, root)
  cli.ask({ "problems", "--json", named }, root, function(problems, _, messages)
    if #problems > 0 then
      M.show(problems, problems[1].run_id)
    elseif #messages > 0 then
      cli.tell(cli.complaint(messages), vim.log.levels.ERROR)
    else
      M.show({}, named)
      cli.tell("the output of " .. named .. " names no place in the sources")
    end
  end)
end

--- Mark what is wrong in a project.yaml, as its buffer has it.
--- @param buffer number
function M.check_spec(buffer)
  local config = require("pollinator").config
  if not config.check_spec or vim.fn.executable(config.program[1]) ~= 1 then
    return
  end
  local folder = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(buffer), ":p:h")
  if vim.fn.isdirectory(folder .. "/cfs") ~= 1 then
    -- Other programs call their files so, too.
    return
  end
  local text = table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), "\n") .. "\n"
  cli.ask({ "problems", "--spec", "--stdin", "--json", "--project", folder }, folder, function(problems)
    if not vim.api.nvim_buf_is_loaded(buffer) then
      return
    end
    vim.diagnostic.set(
      OF_SPECS,
      buffer,
      vim.tbl_map(function(problem)
        return diagnostic(buffer, problem)
      end, problems)
    )
  end, text)
end

return M
