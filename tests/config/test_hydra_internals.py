"""Hydra's private API is as ``lightune.config.hydra_internals`` uses it: this fails first when Hydra changes."""

import inspect

from hydra.core.utils import JobReturn, JobStatus

from lightune.config import hydra_internals


def test_the_loader_is_replaced_where_hydra_looks_it_up_and_put_back():
    class Loader(hydra_internals.ConfigLoaderImpl):
        pass

    module = hydra_internals.hydra_module
    with hydra_internals.composing_with(Loader):
        assert module.ConfigLoaderImpl is Loader
    assert module.ConfigLoaderImpl is hydra_internals.ConfigLoaderImpl
    assert "ConfigLoaderImpl(" in inspect.getsource(module.Hydra.create_main_hydra2) + inspect.getsource(
        module.Hydra.create_main_hydra_file_or_module
    )


def test_loading_a_configuration_takes_the_arguments_that_ours_passes_on():
    parameters = [*inspect.signature(hydra_internals.ConfigLoaderImpl.load_configuration).parameters]
    assert parameters == [
        "self", "config_name", "overrides", "run_mode", "from_shell", "validate_sweep_overrides",
    ]  # fmt: skip


def test_the_core_plugins_are_where_their_prefix_says():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    for plugin in (type(hydra_internals.basic_launcher()), BasicSweeper):
        assert plugin.__module__.startswith(hydra_internals.CORE_PLUGINS)


def test_the_error_of_a_failed_job_is_read_without_being_raised():
    error = ValueError("planned")
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = error
    assert hydra_internals.error_of(job) is error
