-- Follow while the daemon is killed: the test does that once it is told that enough was seen.
local t = require("harness")

vim.cmd("Pollinator run")
local view = require("pollinator.follow").newest()
local function seen(count)
  return function()
    return vim.api.nvim_buf_line_count(view.buffer) > count
  end
end
t.wait("it prints", seen(30))
vim.fn.writefile({}, vim.env.SEEN)
t.wait("the daemon is another one", function()
  return vim.fn.filereadable(vim.env.KILLED) == 1
end)
t.wait("it prints on", seen(vim.api.nvim_buf_line_count(view.buffer) + 30))
vim.fn.writefile({}, vim.env.ENOUGH)
t.ended()
t.tell({ lines = t.lines(view.buffer), state = view.last.state })
