-- The editor is closed while a run of two ranks is followed.
local t = require("harness")

vim.cmd("edit cfs/src/main.py")
vim.cmd("Pollinator run --set conditions.processesPerNode=2")
local view = require("pollinator.follow").newest()
t.wait("both print", function()
  local lines = t.lines(view.buffer)
  return vim.tbl_contains(lines, "[0] line 0") and vim.tbl_contains(lines, "[1] line 0")
end)
t.tell({ id = view.id })
