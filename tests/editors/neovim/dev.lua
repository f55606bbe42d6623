-- Run at every save, in a terminal.
local t = require("harness")

vim.cmd("edit cfs/src/main.py")
local source = vim.api.nvim_get_current_buf()
local code
vim.api.nvim_create_autocmd("TermClose", {
  callback = function()
    code = vim.v.event.status
  end,
})
vim.cmd("Pollinator dev")
local terminal = vim.api.nvim_get_current_buf()
local function shows(text)
  return function()
    return table.concat(t.lines(terminal), "\n"):find(text, 1, true) ~= nil
  end
end
t.wait("the first run prints", shows("number one"))
vim.api.nvim_buf_call(source, function()
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "print('number', 'two')" })
  vim.cmd("write")
end)
t.wait("the next one prints", shows("number two"))
vim.fn.chansend(vim.bo[terminal].channel, "q")
t.wait("it ends", function()
  return code
end)
t.tell({ code = code })
