-- The live state of projects: one stream of the program for each, from which lists and the statusline are made.
local cli = require("pollinator.cli")
local project = require("pollinator.project")
local words = require("pollinator.words")

local M = {}

-- After a stream has ended, the statusline asks for no other one for so long.
local PAUSE_S = 30

local watched = {}
local listeners = {}
local roots = {}

local function changed(root)
  for _, listener in pairs(listeners) do
    listener(root)
  end
  vim.cmd("redrawstatus!")
end

local function take(root, message)
  local state = watched[root]
  state.project = message.project or state.project
  if message.complete then
    state.runs = {}
  end
  for _, run in ipairs(message.runs or {}) do
    state.runs[run.id] = run
  end
  for _, id in ipairs(message.forgotten_runs or {}) do
    state.runs[id] = nil
  end
  changed(root)
end

--- Follow a project, unless it is followed already.
--- @param root string
function M.watch(root)
  local state = watched[root] or { runs = {} }
  watched[root] = state
  if state.job then
    return
  end
  state.job = cli.start({ "status", "--watch", "--json", "--project", root }, {
    root = root,
    on_json = function(message)
      take(root, message)
    end,
    on_end = function()
      state.job, state.ended = nil, os.time()
    end,
  })
  state.ended = not state.job and os.time() or nil
end

--- Let go of all projects.
function M.stop()
  for _, state in pairs(watched) do
    cli.stop(state.job)
  end
end

--- Call something whenever a project or its runs have changed; it is given the folder.
--- @param name string another one by this name is replaced
--- @param listener function|nil
function M.listen(name, listener)
  listeners[name] = listener
end

--- The runs of a project that are known, newest first.
--- @param root string
--- @return table[]
function M.runs(root)
  local runs = vim.tbl_values((watched[root] or { runs = {} }).runs)
  table.sort(runs, function(one, other)
    return one.id > other.id
  end)
  return runs
end

--- The project as the daemon describes it; nil while nothing is known.
--- @param root string
--- @return table|nil
function M.project(root)
  return watched[root] and watched[root].project
end

--- What is told in a statusline of a project: what is to be stored, its runs that have not ended, or the newest.
--- @param state table|nil
--- @param runs table[]
--- @return string
function M.summary(state, runs)
  local parts = {}
  if state and state.problem ~= "" then
    parts[#parts + 1] = "sync " .. state.state
  elseif state and state.backlog_files > 0 then
    parts[#parts + 1] = ("sync %d files"):format(state.backlog_files)
  end
  local counts, order = {}, {}
  for _, run in ipairs(runs) do
    local word = words.state(run)
    if not words.ended(run.state) then
      if not counts[word] then
        order[#order + 1] = word
      end
      counts[word] = (counts[word] or 0) + 1
    end
  end
  for _, word in ipairs(order) do
    parts[#parts + 1] = ("%s %d"):format(word, counts[word])
  end
  if #order == 0 and runs[1] then
    parts[#parts + 1] = words.summary(runs[1])
  end
  return table.concat(parts, ", ")
end

--- The text for the statusline of the current buffer.
--- @return string
function M.statusline()
  local buffer = vim.api.nvim_get_current_buf()
  local name = vim.api.nvim_buf_get_name(buffer)
  if not roots[name] then
    -- What is no project may become one.
    roots[name] = project.root(buffer)
  end
  local root = roots[name]
  if not root then
    return ""
  end
  local state = watched[root]
  if not state or (not state.job and os.time() - (state.ended or 0) > PAUSE_S) then
    watched[root] = state or { runs = {}, ended = os.time() }
    -- A statusline is no place to start programs in.
    vim.schedule(function()
      if vim.fn.executable(require("pollinator").config.program[1]) == 1 then
        M.watch(root)
      end
    end)
  end
  return M.summary(M.project(root), M.runs(root))
end

return M
