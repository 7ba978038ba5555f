"""From words to objects: roles, options, presets, trust."""
