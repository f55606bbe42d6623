-- Followed runs: each has a buffer that grows as its ranks print, whatever happens to the daemon meanwhile.
local cli = require("pollinator.cli")
local output = require("pollinator.output")
local problems = require("pollinator.problems")
local state = require("pollinator.state")
local words = require("pollinator.words")

local M = {}

local MARKS = vim.api.nvim_create_namespace("pollinator-output")
local GROUPS = { succeeded = "PollinatorGood", failed = "PollinatorBad", lost = "PollinatorBad" }
local LINKS = {
  PollinatorGood = "DiagnosticHint",
  PollinatorBad = "DiagnosticError",
  PollinatorNote = "Comment",
  PollinatorRank = "Identifier",
  PollinatorAnsiBlack = "Comment",
  PollinatorAnsiRed = "DiagnosticError",
  PollinatorAnsiGreen = "String",
  PollinatorAnsiYellow = "DiagnosticWarn",
  PollinatorAnsiBlue = "Function",
  PollinatorAnsiMagenta = "Statement",
  PollinatorAnsiCyan = "Special",
  PollinatorAnsiWhite = "Normal",
  PollinatorAnsiBold = "Title",
}

-- So many buffers of runs that have ended stay, besides those that are shown.
local KEPT = 5

local views = {}
local newest

local View = {}
View.__index = View

local function new_buffer(root)
  for name, link in pairs(LINKS) do
    vim.cmd(("highlight default link %s %s"):format(name, link))
  end
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.bo[buffer].bufhidden = "hide"
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].undolevels = -1
  vim.b[buffer].pollinator_root = root
  vim.b[buffer].pollinator_status = "starting"
  vim.bo[buffer].filetype = "pollinator-run"
  return buffer
end

local function keys(view)
  local function map(key, what, action)
    vim.keymap.set("n", key, action, { buffer = view.buffer, nowait = true, desc = what })
  end
  map("q", "Close the window; the run goes on", "<Cmd>close<CR>")
  map("<C-c>", "Let go of the run; it goes on", function()
    view:detach()
  end)
  map("X", "Cancel the run", "<Cmd>Pollinator cancel<CR>")
  map("R", "Run the same again", "<Cmd>Pollinator rerun<CR>")
  map("D", "What has changed since this run", "<Cmd>Pollinator diff<CR>")
  map("P", "Fetch the results", "<Cmd>Pollinator pull<CR>")
end

-- Show a buffer where runs are shown already, or in a new window.
local function show(buffer)
  local config = require("pollinator").config
  local before = vim.api.nvim_get_current_win()
  local window
  for _, each in ipairs(vim.api.nvim_tabpage_list_wins(0)) do
    if vim.bo[vim.api.nvim_win_get_buf(each)].filetype == "pollinator-run" then
      window = each
    end
  end
  if not window then
    vim.cmd(config.window)
    window = vim.api.nvim_get_current_win()
  end
  vim.api.nvim_win_set_buf(window, buffer)
  vim.wo[window].number, vim.wo[window].relativenumber = false, false
  vim.wo[window].wrap = true
  vim.wo[window].statusline = " %{get(b:, 'pollinator_run', '')}  %{get(b:, 'pollinator_status', '')}"
  vim.api.nvim_set_current_win(config.focus and window or before)
end

-- Show the last line of a window, at its bottom and not at its top with nothing below.
local function to_end(window, count)
  vim.api.nvim_win_set_cursor(window, { count, 0 })
  vim.api.nvim_win_call(window, function()
    vim.cmd("normal! zb")
  end)
end

-- Windows of a buffer whose cursor is on the last line.
local function at_end(buffer)
  local count = vim.api.nvim_buf_line_count(buffer)
  return vim.tbl_filter(function(window)
    return vim.api.nvim_win_get_cursor(window)[1] >= count
  end, vim.fn.win_findbuf(buffer)), count
end

local function new_view(root)
  local view = setmetatable({ root = root, buffer = new_buffer(root), found = {}, sink = output.new(1) }, View)
  keys(view)
  vim.api.nvim_create_autocmd("BufWipeout", {
    buffer = view.buffer,
    callback = function()
      cli.stop(view.job)
      if view.id and views[view.id] == view then
        views[view.id] = nil
      end
    end,
  })
  newest = view
  return view
end

-- Now it is known which run it is.
function View:name(run)
  self.id = run.id
  views[run.id] = self
  local spec = run.spec or {}
  self.ranks = math.max(1, spec.nodes or 1) * math.max(1, spec.processes_per_node or 1)
  self.sink = output.new(self.ranks)
  vim.b[self.buffer].pollinator_run = run.id
  if self.root then
    -- Not before: the stream of the state starts no daemon, and now there is one.
    state.watch(self.root)
  end
  local title = "pollinator://" .. run.id
  local before = vim.fn.bufnr("^" .. title .. "$")
  if before > 0 and before ~= self.buffer then
    vim.api.nvim_buf_delete(before, { force = true })
  end
  vim.api.nvim_buf_set_name(self.buffer, title)
  self:note(("run %s on %s"):format(run.id, run.executor))
end

function View:status(text)
  if vim.api.nvim_buf_is_valid(self.buffer) then
    vim.b[self.buffer].pollinator_status = text
    vim.cmd("redrawstatus!")
  end
end

-- Put lines in the place of the one that was begun. Windows that show the end go on showing it.
function View:put(lines, unended)
  local buffer = self.buffer
  if not vim.api.nvim_buf_is_valid(buffer) then
    return
  end
  local following, count = at_end(buffer)
  local from = self.fresh == nil and 0 or (self.open and count - 1 or count)
  local all = vim.list_extend({}, lines)
  all[#all + 1] = unended
  local texts = {}
  for _, line in ipairs(all) do
    texts[#texts + 1] = line.text
  end
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, from, -1, false, texts)
  if #texts > 0 then
    self.fresh = false
  end
  for index, line in ipairs(all) do
    for _, span in ipairs(line.spans) do
      vim.api.nvim_buf_add_highlight(buffer, MARKS, span[3], from + index - 1, span[1], span[2])
    end
  end
  self.open = unended ~= nil
  self:trim()
  vim.bo[buffer].modifiable = false
  for _, window in ipairs(following) do
    to_end(window, vim.api.nvim_buf_line_count(buffer))
  end
end

function View:trim()
  local most = require("pollinator").config.lines
  local count = vim.api.nvim_buf_line_count(self.buffer)
  -- Not at each line: a tenth at a time.
  if count > most * 1.1 then
    vim.api.nvim_buf_set_lines(self.buffer, 0, count - most, false, {})
  end
end

-- A line of ours among those of the run; the line that a rank has begun stays the last.
function View:note(text, group)
  local lines = {}
  for _, line in ipairs(vim.split(text, "\n")) do
    line = "── " .. line
    lines[#lines + 1] = { text = line, spans = { { 0, #line, group or "PollinatorNote" } } }
  end
  self:put(lines, self.sink:unended())
end

-- One JSON line of the program.
function View:take(value)
  if value.output then
    local block = value.output
    if not self.begun and block.offset > 0 then
      self:note("what was printed before: pollinator logs " .. self.id)
    end
    self.begun = true
    local data = block.base64 and output.from_base64(block.base64) or block.text
    self:put(self.sink:add(block.rank, data))
  elseif value.event then
    self:happened(value.event)
  elseif value.run then
    self:ended(value.run)
  elseif value.problem then
    self.found[#self.found + 1] = value.problem
  end
end

function View:happened(event)
  if event.accepted then
    self:name(event.accepted)
  elseif event.state_changed then
    self:status(event.state_changed.state)
  elseif event.pending and event.pending.text ~= "" then
    self:status("waits: " .. event.pending.text)
  elseif event.cancel_requested then
    self:status("cancelling")
  elseif event.notice then
    self:note(event.notice.text)
  elseif event.reachability then
    self:status(event.reachability.unreachable_since and "no word from the executor" or "the executor answers again")
  end
end

-- The program's last word about the run. With `logs` it need not have ended.
function View:ended(run)
  self.last = run
  self:put(self.sink:finish())
  local text = words.summary(run)
  self:status(text)
  if not words.ended(run.state) then
    return
  end
  local outcome = run.outcome or {}
  if run.state ~= "succeeded" and outcome.detail and outcome.detail ~= "" then
    text = text .. "\n" .. outcome.detail
  end
  self:note(text, GROUPS[run.state])
end

-- The program has ended, after the run or before.
function View:done(code, messages)
  self.job = nil
  if self.detached then
    self:status("let go")
    self:note(("let go of; the run goes on. :Pollinator follow %s"):format(self.id or "latest"))
  elseif not self.last then
    local text = cli.complaint(messages)
    self:put(self.sink:finish())
    self:status("error")
    self:note(text ~= "" and text or ("the program ended with %d"):format(code), "PollinatorBad")
    cli.tell(text, vim.log.levels.ERROR)
  elseif self.followed and words.ended(self.last.state) then
    self:tell()
  end
end

-- How a run that was followed has ended: a message, and its problems.
function View:tell()
  local run = self.last
  local good = run.state == "succeeded"
  cli.tell(("%s %s"):format(run.id, words.summary(run)), good and vim.log.levels.INFO or vim.log.levels.WARN)
  problems.show(self.found, run.id)
  -- The window of the list has taken lines from that of the run.
  local windows, count = at_end(self.buffer)
  for _, window in ipairs(windows) do
    to_end(window, count)
  end
  -- Results have come into files that may be open.
  vim.cmd("silent! checktime")
end

--- Let go of a run, which goes on.
function View:detach()
  if self.job then
    self.detached = true
    cli.stop(self.job)
  end
end

function View:start(arguments)
  self.job = cli.start(arguments, {
    root = self.root,
    on_json = function(value)
      self:take(value)
    end,
    on_end = function(code, messages)
      self:done(code, messages)
    end,
  })
  if self.job then
    show(self.buffer)
  else
    vim.api.nvim_buf_delete(self.buffer, { force = true })
  end
end

-- Buffers of runs that have ended and that nobody looks at, all but the newest few.
local function clear_up()
  local ids = {}
  for id, view in pairs(views) do
    if not view.job and vim.api.nvim_buf_is_valid(view.buffer) and #vim.fn.win_findbuf(view.buffer) == 0 then
      ids[#ids + 1] = id
    end
  end
  table.sort(ids)
  for index = 1, #ids - KEPT do
    vim.api.nvim_buf_delete(views[ids[index]].buffer, { force = true })
  end
end

--- Start a run, or an earlier one again, and follow it.
--- @param arguments string[] of `pollinator run` or `pollinator rerun`, with that word
--- @param root string|nil
function M.launch(arguments, root)
  clear_up()
  local view = new_view(root)
  view.followed = true
  problems.clear()
  local command = { arguments[1], "--follow", "--problems", "--json" }
  view:start(vim.list_extend(command, vim.list_slice(arguments, 2)))
end

--- Show what a run printed, and with `follow` what it prints until its end.
--- @param named string
--- @param root string|nil
--- @param follow boolean
function M.open(named, root, follow)
  cli.ask({ "show", "--json", named }, root, function(found, _, messages)
    local run = found[1]
    if not run then
      cli.tell(cli.complaint(messages), vim.log.levels.ERROR)
      return
    end
    local earlier = views[run.id]
    if earlier and earlier.job and vim.api.nvim_buf_is_valid(earlier.buffer) then
      show(earlier.buffer)
      return
    end
    local view = new_view(root)
    view:name(run)
    view:status(words.state(run))
    view.followed = follow
    local most = tostring(require("pollinator").config.lines)
    local command = { "logs", "--json", "--tail", most, run.id }
    view:start(vim.list_extend(command, follow and { "--follow", "--problems" } or {}))
  end)
end

--- Let go of the run of the current buffer, or of the one that was started last.
function M.detach()
  local view = views[vim.b.pollinator_run or ""] or newest
  if view and view.job then
    view:detach()
  else
    cli.tell("no run is being followed")
  end
end

--- The view that was started last, for tests and for scripts: `buffer`, `id`, `last` (the run once it has ended).
--- @return table|nil
function M.newest()
  return newest
end

return M
