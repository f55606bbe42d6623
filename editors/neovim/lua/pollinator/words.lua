-- States, times and reasons in plain words.
local M = {}

local ENDS = { succeeded = true, failed = true, cancelled = true, lost = true }

--- Whether a run in this state has ended.
--- @param state string
--- @return boolean
function M.ended(state)
  return ENDS[state] or false
end

--- Seconds since 1970 of `2026-01-31T12:00:00.000Z`; nil of nothing.
--- @param stamp string|nil
--- @return number|nil
function M.seconds(stamp)
  if not stamp then
    return nil
  end
  local year, month, day, hour, minute, second = stamp:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$")
  if not year then
    return nil
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  -- Days of the civil calendar, with years that begin in March.
  local shifted = month <= 2 and year - 1 or year
  local era = math.floor(shifted / 400)
  local of_era = shifted - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  local days = era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

--- `0.4s`, `12s`, `3m05s`, `2h10m`, `4d03h`, as the program says it.
--- @param seconds number
--- @return string
function M.duration(seconds)
  if seconds < 10 then
    return ("%.1fs"):format(math.max(0, seconds))
  end
  local whole = math.floor(seconds)
  if whole < 60 then
    return ("%ds"):format(whole)
  elseif whole < 3600 then
    return ("%dm%02ds"):format(math.floor(whole / 60), whole % 60)
  elseif whole < 86400 then
    return ("%dh%02dm"):format(math.floor(whole / 3600), math.floor(whole % 3600 / 60))
  end
  return ("%dd%02dh"):format(math.floor(whole / 86400), math.floor(whole % 86400 / 3600))
end

--- How long the ranks ran or have been running; nil when they never started.
--- @param run table
--- @return number|nil
function M.run_time(run)
  local start = M.seconds(run.start_time)
  return start and math.max(0, (M.seconds(run.end_time) or os.time()) - start)
end

--- The state, or `cancelling` while the wish to end is on its way.
--- @param run table
--- @return string
function M.state(run)
  return run.cancel_requested and not M.ended(run.state) and "cancelling" or run.state
end

local function reason(run)
  local outcome = run.outcome or {}
  if run.superseded and run.state == "cancelled" then
    return "superseded"
  elseif outcome.reason == "exit_code" then
    return ("exit %d"):format(outcome.exit_code)
  elseif outcome.reason and outcome.reason ~= "" then
    return outcome.reason
  elseif run.pending and run.pending.code ~= "" then
    return run.pending.code
  end
  return run.unreachable_since and "no word" or ""
end

--- What sets a run apart: that it is a trial, why it ended as it did or why it waits; empty when there is nothing.
--- @param run table
--- @return string
function M.why(run)
  local why = reason(run)
  if run.smoke then
    return why ~= "" and "smoke, " .. why or "smoke"
  end
  return why
end

--- One line about how a run stands.
--- @param run table
--- @return string
function M.summary(run)
  local text = M.state(run)
  local why = M.why(run)
  if why ~= "" then
    text = ("%s (%s)"):format(text, why)
  end
  local took = M.ended(run.state) and M.run_time(run)
  return took and ("%s after %s"):format(text, M.duration(took)) or text
end

return M
