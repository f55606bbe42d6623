-- :checkhealth pollinator
local M = {}

local function reporter()
  local health = vim.health or require("health")
  return {
    start = health.start or health.report_start,
    ok = health.ok or health.report_ok,
    warn = health.warn or health.report_warn,
    error = health.error or health.report_error,
  }
end

local function json_lines(arguments)
  local cli = require("pollinator.cli")
  local found = {}
  for _, line in ipairs(vim.fn.systemlist(cli.command(arguments))) do
    found[#found + 1] = cli.decoded(line)
  end
  return found
end

--- Look at the editor, the program, and what the program finds.
function M.check()
  local report = reporter()
  report.start("pollinator: editor and program")
  if vim.fn.has("nvim-0.7") == 1 then
    report.ok("this Neovim has what is needed")
  else
    report.error("Neovim 0.7 or newer is needed")
  end
  local program = require("pollinator").config.program[1]
  if vim.fn.executable(program) ~= 1 then
    report.error(program .. " was not found", {
      "install it, and see that it is on PATH of this editor",
      "or name it: require('pollinator').setup({ program = '/path/to/pollinator' })",
    })
    return
  end
  local version = json_lines({ "version", "--json" })[1]
  if not version then
    report.error(program .. " does not answer", { "in a shell: " .. program .. " version" })
    return
  end
  report.ok(("%s is version %s"):format(vim.fn.exepath(program), version.version))
  report.start("pollinator: what doctor finds")
  local grades = { ok = report.ok, failed = report.error }
  for _, each in ipairs(json_lines({ "doctor", "--json" })) do
    local tell = grades[each.status] or report.warn
    local text = ("%s: %s"):format(each.name, each.detail)
    if each.status == "ok" or not each.hint or each.hint == "" then
      tell(text)
    else
      tell(text, { each.hint })
    end
  end
end

return M
