-- What a user calls: setup() and the component for the statusline.
local M = {}

--- Everything that setup() may change, with its default.
M.config = {
  -- The program, with arguments if need be.
  program = { "pollinator" },
  -- How the window of a followed run is opened.
  window = "botright 15split",
  -- Write changed files of the project before it is run.
  save = true,
  -- Go to the new window of a followed run.
  focus = false,
  -- After a failure: fill the quickfix list, and show it.
  quickfix = true,
  -- Mark the lines in the sources that a failed run names.
  marks = true,
  -- Look at project.yaml whenever it is read or written.
  check_spec = true,
  -- Lines of output that are kept in a window; the whole output is `pollinator logs`.
  lines = 100000,
}

--- Change the configuration; what is not named stays.
--- @param options table|nil
function M.setup(options)
  options = options or {}
  for name in pairs(options) do
    if M.config[name] == nil then
      error(("pollinator: there is no option %q; :help pollinator-setup lists them"):format(name), 2)
    end
  end
  M.config = vim.tbl_extend("force", M.config, options)
  if type(M.config.program) == "string" then
    M.config.program = { M.config.program }
  end
end

--- A short text for the statusline: what the runs of this buffer's project do. Empty outside of projects.
--- @return string
function M.statusline()
  return require("pollinator.state").statusline()
end

return M
