-- A run that fails is listed and marked where it did.
local t = require("harness")

vim.cmd("edit cfs/src/main.py")
local source = vim.api.nvim_get_current_buf()
vim.cmd("Pollinator run")
local view = t.ended()
local list = vim.fn.getqflist({ items = 0, title = 0 })
vim.cmd("edit cfs/src/lib.py")
local library = vim.api.nvim_get_current_buf()
local function marks(buffer)
  return vim.tbl_map(function(each)
    return { line = each.lnum + 1, message = each.message, severity = each.severity }
  end, vim.diagnostic.get(buffer))
end
local function signs(buffer)
  local lines = {}
  for _, placed in ipairs(vim.fn.sign_getplaced(buffer, { group = "*" })[1].signs) do
    table.insert(lines, placed.lnum)
  end
  -- From 0.10 on they are extended marks as well.
  local marks_too = vim.fn.has("nvim-0.10") == 1
  for _, mark in ipairs(marks_too and vim.api.nvim_buf_get_extmarks(buffer, -1, 0, -1, { details = true }) or {}) do
    if mark[4].sign_text then
      table.insert(lines, mark[2] + 1)
    end
  end
  return lines
end
local seen = {
  state = view.last.state,
  title = list.title,
  id = view.id,
  list = vim.tbl_map(function(each)
    local path = vim.fn.fnamemodify(vim.fn.bufname(each.bufnr), ":t")
    return { path = path, line = each.lnum, kind = each.type, text = each.text }
  end, list.items),
  marks = { ["main.py"] = marks(source), ["lib.py"] = marks(library) },
  signs = { ["main.py"] = signs(source), ["lib.py"] = signs(library) },
  list_is_open = vim.fn.getqflist({ winid = 0 }).winid ~= 0,
}
-- The next run takes the marks away.
vim.fn.writefile({ "print('well')" }, "cfs/src/main.py")
vim.cmd("Pollinator run")
seen.after = t.ended().last.state
seen.list_after = { vim.fn.getqflist({ winid = 0 }).winid, #vim.fn.getqflist() }
-- And leaves the list alone where it is somebody else's.
vim.fn.setqflist({}, " ", { title = "grep", items = { { filename = "project.yaml", lnum = 1 } } })
vim.cmd("Pollinator rerun")
t.ended()
seen.list_of_others = #vim.fn.getqflist()
seen.marks_after = #vim.diagnostic.get()
t.tell(seen)
