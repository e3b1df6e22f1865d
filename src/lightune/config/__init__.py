"""What may be said on the command line, checked before anything heavy."""

from lightune.config.check_composed import check_composed, guarded_command_line
from lightune.config.checks import check_added, check_calls, check_checkpoints, check_made, check_pairing, check_resumed
from lightune.config.env_file import read_env_file
from lightune.config.messages import friendly_errors
from lightune.config.output_folder import hydra_folder, run_folder
from lightune.config.rerun import command, overrides_of, rerun_arguments, resume_arguments, settings_and_command
from lightune.config.run_config import load_run_config

__all__ = [
    "check_added",
    "check_calls",
    "check_checkpoints",
    "check_composed",
    "check_made",
    "check_pairing",
    "check_resumed",
    "command",
    "friendly_errors",
    "guarded_command_line",
    "hydra_folder",
    "load_run_config",
    "overrides_of",
    "read_env_file",
    "rerun_arguments",
    "resume_arguments",
    "run_folder",
    "settings_and_command",
]
