-- :Pollinator and its words. Each goes to the program; what it does there is explained by :help pollinator.
local cli = require("pollinator.cli")
local project = require("pollinator.project")

local M = {}

-- The run that is meant where none is named: that of the current buffer, or the newest.
local function named(arguments)
  if #arguments > 0 then
    return arguments
  end
  return { vim.b.pollinator_run or "latest" }
end

local function scratch(title, filetype, lines)
  vim.cmd("botright new")
  local buffer = vim.api.nvim_get_current_buf()
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden, vim.bo[buffer].swapfile = "nofile", "wipe", false
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].filetype = filetype
  pcall(vim.api.nvim_buf_set_name, buffer, "pollinator://" .. title)
  vim.keymap.set("n", "q", "<Cmd>close<CR>", { buffer = buffer, nowait = true })
end

local function asked(arguments, root, on_found)
  cli.ask(arguments, root, function(found, code, messages)
    if #found > 0 then
      on_found(found, messages)
    else
      cli.tell(cli.complaint(messages), code == 0 and vim.log.levels.INFO or vim.log.levels.ERROR)
    end
  end)
end

local function diff_lines(answer)
  local lines = {}
  for _, change in ipairs(answer.settings or {}) do
    local before, after = change.base_value or "", change.value or ""
    lines[#lines + 1] = ("%s: %s -> %s"):format(
      change.name,
      before ~= "" and before or "(none)",
      after ~= "" and after or "(none)"
    )
  end
  for _, file in ipairs(answer.files or {}) do
    lines[#lines + 1] = ("diff %s %s"):format(file.kind, file.path)
    if file.text_diff ~= "" then
      vim.list_extend(lines, vim.split((file.text_diff:gsub("\n$", "")), "\n"))
    end
  end
  if #lines == 0 then
    local other = answer.run_id ~= "" and "run " .. answer.run_id or "what is on disk now"
    lines[1] = ("Nothing differs between run %s and %s."):format(answer.base_run_id, other)
  end
  return lines
end

local function findings(found)
  local lines = {}
  for _, each in ipairs(found) do
    lines[#lines + 1] = ("%-8s %s: %s"):format(each.status, each.name, each.detail)
    if each.hint and each.hint ~= "" and each.status ~= "ok" then
      lines[#lines + 1] = (" "):rep(11) .. "-> " .. each.hint
    end
  end
  return lines
end

local function terminal(arguments, root)
  vim.cmd(require("pollinator").config.window)
  vim.cmd("enew")
  vim.b.pollinator_root = root
  local command = cli.command(arguments)
  if vim.fn.has("nvim-0.11") == 1 then
    vim.fn.jobstart(command, { term = true, cwd = root })
  else
    vim.fn.termopen(command, { cwd = root })
  end
  vim.cmd("startinsert")
end

local COMMANDS = {
  run = {
    needs_project = true,
    action = function(arguments, root)
      if require("pollinator").config.save then
        project.write(root)
      end
      require("pollinator.follow").launch(vim.list_extend({ "run" }, arguments), root)
    end,
  },
  rerun = {
    action = function(arguments, root)
      require("pollinator.follow").launch(vim.list_extend({ "rerun" }, named(arguments)), root)
    end,
  },
  follow = {
    like = "logs",
    action = function(arguments, root)
      require("pollinator.follow").open(named(arguments)[1], root, true)
    end,
  },
  logs = {
    action = function(arguments, root)
      require("pollinator.follow").open(named(arguments)[1], root, false)
    end,
  },
  detach = {
    like = "",
    action = function()
      require("pollinator.follow").detach()
    end,
  },
  cancel = {
    action = function(arguments, root)
      local command = vim.list_extend({ "cancel", "--json" }, named(arguments))
      asked(command, root, function(_, messages)
        cli.tell(table.concat(messages, "\n"))
      end)
    end,
  },
  runs = {
    like = "list",
    needs_project = true,
    action = function(_, root)
      require("pollinator.runs").open(root)
    end,
  },
  diff = {
    action = function(arguments, root)
      local command = vim.list_extend({ "diff", "--json" }, named(arguments))
      asked(command, root, function(found)
        scratch("diff " .. table.concat(named(arguments), " "), "diff", diff_lines(found[1]))
      end)
    end,
  },
  pull = {
    action = function(arguments, root)
      local command = vim.list_extend({ "pull", "--json" }, named(arguments))
      asked(command, root, function(_, messages)
        cli.tell(table.concat(messages, "\n"))
        vim.cmd("silent! checktime")
      end)
    end,
  },
  problems = {
    action = function(arguments, root)
      require("pollinator.problems").of_run(named(arguments)[1], root)
    end,
  },
  doctor = {
    action = function(_, root)
      asked({ "doctor", "--json" }, root, function(found)
        scratch("doctor", "pollinator-doctor", findings(found))
      end)
    end,
  },
  dev = {
    needs_project = true,
    action = function(arguments, root)
      if cli.installed() then
        terminal(vim.list_extend({ "dev" }, arguments), root)
      end
    end,
  },
}

local function names()
  local found = vim.tbl_keys(COMMANDS)
  table.sort(found)
  return found
end

--- Do what was typed behind :Pollinator; nothing at all means the list of runs.
--- @param words string[]
function M.run(words)
  local name = words[1] or "runs"
  local command = COMMANDS[name]
  if not command then
    cli.tell(("there is no %q; there are %s"):format(name, table.concat(names(), ", ")), vim.log.levels.ERROR)
    return
  end
  local root = project.root()
  if command.needs_project and not root then
    cli.tell(
      "no project.yaml in the folder of this file or above; make a project: pollinator new DIR",
      vim.log.levels.ERROR
    )
    return
  end
  command.action(vim.list_slice(words, 2), root)
end

-- What the program completes itself with: options, ids of runs, names of executors.
local function completed(words)
  local found = {}
  local job = vim.fn.jobstart(cli.command({}), {
    cwd = project.root(),
    env = {
      _POLLINATOR_COMPLETE = "bash_complete",
      COMP_WORDS = table.concat(words, " "),
      COMP_CWORD = tostring(#words - 1),
    },
    stdin = "null",
    stdout_buffered = true,
    on_stdout = function(_, lines)
      for _, line in ipairs(lines) do
        local value = line:match("^plain,(.+)$")
        if value then
          found[#found + 1] = value
        end
      end
    end,
  })
  if job > 0 and vim.fn.jobwait({ job }, 3000)[1] == -1 then
    vim.fn.jobstop(job)
  end
  return found
end

--- Complete a command line.
--- @param lead string what is begun
--- @param line string the line up to the cursor
--- @return string[]
function M.complete(lead, line)
  local words = vim.split(line, "%s+", { trimempty = true })
  if lead == "" then
    words[#words + 1] = ""
  end
  if #words <= 2 then
    return vim.tbl_filter(function(name)
      return vim.startswith(name, lead)
    end, names())
  end
  local command = COMMANDS[words[2]]
  if not command or command.like == "" or vim.fn.executable(require("pollinator").config.program[1]) ~= 1 then
    return {}
  end
  local typed = { "pollinator", command.like or words[2] }
  return completed(vim.list_extend(typed, vim.list_slice(words, 3)))
end

return M
