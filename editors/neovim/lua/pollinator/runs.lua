-- The list of a project's runs, which changes as they do.
local cli = require("pollinator.cli")
local state = require("pollinator.state")
local words = require("pollinator.words")

local M = {}

local HELP = "Enter follow   l logs   x cancel   R rerun   d diff   p pull results   e problems   q close"
local MARKS = vim.api.nvim_create_namespace("pollinator-runs")
local GROUPS = {
  succeeded = "DiagnosticHint",
  failed = "DiagnosticError",
  lost = "DiagnosticError",
  cancelled = "DiagnosticWarn",
  running = "DiagnosticInfo",
}
-- Lines above the first run: the keys, and the header.
local ABOVE = 2
local HEADER = { "RUN", "STATE", "WHY", "AGE", "TIME", "EXECUTOR" }

local function row(run)
  local took = words.run_time(run)
  local why = words.why(run)
  return {
    run.id,
    words.state(run),
    why ~= "" and why or "-",
    words.duration(os.time() - (words.seconds(run.accept_time) or os.time())),
    took and words.duration(took) or "-",
    run.executor,
  }
end

--- Lines of a table of runs.
--- @param runs table[]
--- @return string[]
function M.lines(runs)
  local rows = { HEADER }
  vim.list_extend(rows, vim.tbl_map(row, runs))
  local widths = {}
  for _, cells in ipairs(rows) do
    for index, cell in ipairs(cells) do
      widths[index] = math.max(widths[index] or 0, #cell)
    end
  end
  return vim.tbl_map(function(cells)
    local padded = {}
    for index, cell in ipairs(cells) do
      padded[index] = cell .. (" "):rep(widths[index] - #cell)
    end
    return (table.concat(padded, "  "):gsub("%s+$", ""))
  end, rows)
end

local function render(buffer, root)
  if not vim.api.nvim_buf_is_valid(buffer) then
    state.listen("runs:" .. root, nil)
    return
  end
  local runs = state.runs(root)
  local lines = M.lines(runs)
  table.insert(lines, 1, HELP)
  if #runs == 0 then
    lines[#lines + 1] = "No runs. Start one: :Pollinator run"
  end
  local before, at = vim.b[buffer].pollinator_ids or {}, {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    at[window] = before[vim.api.nvim_win_get_cursor(window)[1] - ABOVE]
  end
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable = false
  vim.api.nvim_buf_clear_namespace(buffer, MARKS, 0, -1)
  vim.api.nvim_buf_add_highlight(buffer, MARKS, "Comment", 0, 0, -1)
  vim.api.nvim_buf_add_highlight(buffer, MARKS, "Title", 1, 0, -1)
  for index, run in ipairs(runs) do
    local from, to = lines[index + ABOVE]:find(words.state(run), 1, true)
    local group = GROUPS[words.state(run)]
    if from and group then
      vim.api.nvim_buf_add_highlight(buffer, MARKS, group, index + ABOVE - 1, from - 1, to)
    end
  end
  local ids = vim.tbl_map(function(run)
    return run.id
  end, runs)
  vim.b[buffer].pollinator_ids = ids
  -- The cursor stays on its run when there is a new one above.
  for window, id in pairs(at) do
    for index, each in ipairs(ids) do
      if each == id then
        vim.api.nvim_win_set_cursor(window, { index + ABOVE, 0 })
      end
    end
  end
end

local function keys(buffer)
  local function map(key, command, what)
    vim.keymap.set("n", key, function()
      local id = (vim.b[buffer].pollinator_ids or {})[vim.api.nvim_win_get_cursor(0)[1] - ABOVE]
      if id then
        require("pollinator.commands").run({ command, id })
      end
    end, { buffer = buffer, nowait = true, desc = what })
  end
  map("<CR>", "follow", "Follow this run")
  map("l", "logs", "Show what this run printed")
  map("x", "cancel", "Cancel this run")
  map("R", "rerun", "Run this one again")
  map("d", "diff", "What has changed since this run")
  map("p", "pull", "Fetch the results of this run")
  map("e", "problems", "Places in the sources that this run names")
  vim.keymap.set("n", "q", "<Cmd>close<CR>", { buffer = buffer, nowait = true, desc = "Close the window" })
end

--- Open the list of a project's runs.
--- @param root string
--- @return number the buffer
function M.open(root)
  local title = "pollinator://runs" .. root
  local buffer = vim.fn.bufnr("^" .. vim.fn.escape(title, "[]*?\\$^~.") .. "$")
  if buffer < 1 then
    buffer = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(buffer, title)
    vim.b[buffer].pollinator_root = root
    vim.bo[buffer].filetype = "pollinator-runs"
    keys(buffer)
  end
  vim.cmd("botright 15split")
  vim.api.nvim_win_set_buf(0, buffer)
  vim.wo.wrap, vim.wo.cursorline, vim.wo.number = false, true, false
  state.listen("runs:" .. root, function(changed)
    if changed == root then
      render(buffer, root)
    end
  end)
  M.refresh(root)
  render(buffer, root)
  return buffer
end

--- Follow the project; where nobody knows it yet, opening its list makes it known.
--- @param root string
function M.refresh(root)
  -- Any question starts the daemon, and the stream starts none.
  cli.ask({ "list", "--json", "-n", "1" }, root, function(_, code, messages)
    if code ~= 0 then
      cli.tell(cli.complaint(messages), vim.log.levels.ERROR)
    end
    state.watch(root)
  end)
end

return M
