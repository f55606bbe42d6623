-- What scripts of the tests share: waiting for something, and telling what was seen.
local M = {}

--- Messages of the plugin.
M.messages = {}

--- Wait until something is so.
function M.wait(what, condition)
  if not vim.wait(40000, condition, 10) then
    local view = require("pollinator.follow").newest()
    local shown = view and vim.api.nvim_buf_is_valid(view.buffer) and M.lines(view.buffer) or {}
    error(("not in time: %s; %s"):format(what, vim.inspect({ messages = M.messages, shown = shown })))
  end
end

--- The lines of a buffer.
function M.lines(buffer)
  return vim.api.nvim_buf_get_lines(buffer, 0, -1, false)
end

--- The view of the newest followed run, once that has ended and all was told about it.
function M.ended()
  local view = require("pollinator.follow").newest()
  M.wait("the run ends", function()
    return view.last and not view.job
  end)
  return view
end

--- Hand something to the test.
function M.tell(value)
  vim.fn.writefile({ vim.fn.json_encode(value) }, vim.env.RESULT)
end

vim.notify = function(text, level)
  table.insert(M.messages, { text = text, level = level })
end

return M
