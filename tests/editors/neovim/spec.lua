-- project.yaml is looked at as it is read and as it is written.
local t = require("harness")

vim.cmd("edit project.yaml")
t.wait("it is marked", function()
  return #vim.diagnostic.get(0) > 0
end)
local before = vim.tbl_map(function(each)
  return { line = each.lnum + 1, column = each.col + 1, message = each.message }
end, vim.diagnostic.get(0))
vim.cmd("%substitute/wallltime/walltime/")
vim.cmd("write")
t.wait("all is well", function()
  return #vim.diagnostic.get(0) == 0
end)
-- And one that is refused says why in its window.
vim.fn.writefile(vim.tbl_map(function(line)
  return (line:gsub("walltime: %d+", "walltime: soon"))
end, vim.fn.readfile("project.yaml")), "project.yaml")
vim.cmd("Pollinator run")
local view = require("pollinator.follow").newest()
t.wait("it is refused", function()
  return not view.job
end)
t.tell({ before = before, refused = t.lines(view.buffer) })
