-- Everything that looks at runs: list, statusline, logs, diff, pull, problems of a run, doctor, completion.
local t = require("harness")
local commands = require("pollinator.commands")
local seen = {}

local function scratch(title)
  t.wait(title .. " opens", function()
    return vim.api.nvim_buf_get_name(0):find("pollinator://" .. title, 1, true) ~= nil
  end)
  return t.lines(0)
end

vim.cmd("edit cfs/src/main.py")
t.wait("the statusline has something to say", function()
  return require("pollinator").statusline() ~= ""
end)
seen.first_status = require("pollinator").statusline()
vim.cmd("Pollinator runs")
t.wait("the runs are listed", function()
  return #(vim.b.pollinator_ids or {}) == 2
end)
seen.list, seen.ids = t.lines(0), vim.b.pollinator_ids
local list = vim.api.nvim_get_current_buf()

vim.cmd("Pollinator run")
local view = t.ended()
t.wait("the list has the new run, ended", function()
  return (t.lines(list)[3] or ""):find(view.id .. "  succeeded", 1, true) ~= nil
end)
vim.api.nvim_set_current_buf(vim.fn.bufnr("main.py"))
t.wait("the statusline has it", function()
  return require("pollinator").statusline():find("succeeded", 1, true) ~= nil
end)

vim.cmd("Pollinator logs latest~2")
t.wait("the first run's output is there", function()
  local newest = require("pollinator.follow").newest()
  return newest ~= view and newest.last and not newest.job
end)
seen.logs = t.lines(require("pollinator.follow").newest().buffer)
require("pollinator").setup({ lines = 100 })
vim.cmd("Pollinator logs latest")
t.wait("the end of the newest run's output is there", function()
  local newest = require("pollinator.follow").newest()
  return newest.id == view.id and newest ~= view and newest.last and not newest.job
end)
seen.tail = t.lines(require("pollinator.follow").newest().buffer)
vim.cmd("Pollinator diff latest~2 latest")
seen.diff = scratch("diff")
vim.cmd("close")
vim.cmd("Pollinator diff latest latest")
seen.same = scratch("diff latest latest")
vim.cmd("close")
vim.cmd("Pollinator pull latest")
t.wait("the results are fetched", function()
  return vim.tbl_count(vim.tbl_filter(function(each)
    return each.text:find("written", 1, true)
  end, t.messages)) > 0
end)
vim.cmd("Pollinator problems latest~1")
t.wait("the problems are listed", function()
  return #vim.fn.getqflist() > 0
end)
seen.problems = vim.tbl_map(function(each)
  return { each.lnum, each.text }
end, vim.fn.getqflist())
vim.cmd("Pollinator doctor")
seen.doctor = scratch("doctor")
vim.cmd("close")
seen.completed = {
  commands.complete("r", "Pollinator r"),
  commands.complete("--o", "Pollinator run --o"),
  commands.complete(seen.ids[1], "Pollinator follow " .. seen.ids[1]),
  commands.complete("", "Pollinator run --on "),
  commands.complete("", "Pollinator nothing "),
}
vim.cmd("Pollinator explode")
seen.last_message = t.messages[#t.messages]
t.tell(seen)
