-- A run is cancelled from its window; another is let go of, followed again by another view, and cancelled by its id.
local t = require("harness")
local follow = require("pollinator.follow")

local function printed(view, text)
  return function()
    return vim.tbl_contains(t.lines(view.buffer), text)
  end
end

vim.cmd("edit cfs/src/main.py")
vim.cmd("Pollinator run")
local first = follow.newest()
t.wait("it prints", printed(first, "line 0"))
vim.api.nvim_set_current_win(vim.fn.win_findbuf(first.buffer)[1])
vim.cmd("Pollinator cancel")
t.ended()

vim.cmd("Pollinator run")
local second = follow.newest()
t.wait("it prints", printed(second, "line 0"))
vim.cmd("Pollinator detach")
t.wait("it is let go of", function()
  return not second.job
end)
local last = t.lines(second.buffer)
vim.cmd("Pollinator follow latest")
t.wait("it is followed again", function()
  return follow.newest() ~= second
end)
local third = follow.newest()
t.wait("it prints again", printed(third, "line 0"))
vim.cmd("Pollinator cancel " .. third.id)
t.ended()
t.tell({
  states = { first.last.state, second.last and second.last.state or "let go of", third.last.state },
  same = second.id == third.id,
  told = last[#last],
  quickfix = #vim.fn.getqflist(),
})
