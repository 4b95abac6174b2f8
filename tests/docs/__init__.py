"""Documentation is a build artifact: generated parts are compared, tutorials are run."""
