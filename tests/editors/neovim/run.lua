-- Change a file, press run, see it run.
local t = require("harness")

vim.cmd("edit cfs/src/main.py")
vim.api.nvim_buf_set_lines(0, 0, -1, false, {
  "import sys",
  "sys.stdout.write('\\x1b[31mred\\x1b[0m plain\\n')",
  "sys.stdout.write(' 50 %\\r100 %\\n')",
  "sys.stdout.buffer.write('größer ☃\\n'.encode() + b'\\xff\\x00.\\n')",
  "sys.stdout.write('no newline')",
})
vim.cmd("Pollinator run")
local view = t.ended()
local highlights = vim.api.nvim_buf_get_extmarks(
  view.buffer,
  vim.api.nvim_get_namespaces()["pollinator-output"],
  0,
  -1,
  { details = true }
)
t.tell({
  lines = vim.tbl_map(function(line)
    -- A string with a zero byte is none to functions of Vim.
    return vim.fn.strtrans((line:gsub("%z", "^@")))
  end, t.lines(view.buffer)),
  red = vim.tbl_map(
    function(mark)
      return { mark[2], mark[3], mark[4].end_col }
    end,
    vim.tbl_filter(function(mark)
      return mark[4].hl_group == "PollinatorAnsiRed"
    end, highlights)
  ),
  id = view.id,
  state = view.last.state,
  status = vim.b[view.buffer].pollinator_status,
  written = not vim.bo.modified,
  in_source = vim.fn.expand("%:t") == "main.py",
  windows = #vim.fn.win_findbuf(view.buffer),
  messages = t.messages,
})
