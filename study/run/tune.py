"""Runs trials with Ray Tune, on this machine or on a cluster. The only module with ray.tune.

What is done is decided by the results folder alone: each run is a fresh Tuner over the trials that
are left, Tune keeps no state of ours, and its own files below `.ray/` go when the run ends. With
one worker per trial, trials run in reused actors that keep torch and the data; with several, each
trial is a Tune function that starts its workers through Ray Train.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from study.run import capacity, ray_environment
from study.run.ray_environment import ClusterError
from trainables.config.execution import ExecutionConfig
from trainables.config.trial import Beat, Trial

os.environ.update(ray_environment.variables())

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError
from ray.job_config import JobConfig
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.run.crashes import DIED, Crashes
from study.run.scratch import end_processes_of, record_session
from study.run.stopping import SIGNALS, before_leaving
from trainables.results.storage import StorageError
from trainables.run.endings import write_failure

# What loads torch is imported in Ray's processes alone: it is 300 MB and some seconds.

Answer = TypeVar("Answer")

INSTALLS = "set_sigterm_handler"
"""The function by which Ray sets its handler for SIGTERM, which ends the process with code 15."""
STORAGE = "storage_error"
"""Under which a trial reports that it could not write."""
FAILED = "failed"
"""In the config of a trial whose processes died too often: it is on record, and ends at once."""
MAX_CRASHES = 2
"""How often a trial whose process died is taken up again; what Python raises is a row at once."""
PING_SECONDS, LOOK_SECONDS = 2.0, 120.0
PLACEMENT_TRIES, PLACEMENT_TRIES_JOINED = 3, 20
"""Minutes that workers of a trial wait for room: on a cluster, longer than an instance's start."""


def run(
    todo: Sequence[Trial],
    *,
    on_beat: Callable[[Beat], None],
    should_stop: Callable[[], bool],
    scratch: Path,
) -> None:
    """Brings trials to their end, as many at a time as Ray finds room for.

    Joins the cluster that `ray_environment` names, or starts Ray on this machine for the time of
    the run.

    Args:
        todo: trials of one study.
        on_beat: told the beats of every trial, in this process.
        should_stop: polled; True ends running trials resumable and starts no other.
        scratch: this run's own folder, which all nodes see.

    Raises:
        ClusterError: if the cluster cannot be joined, or a trial never be placed.
    """
    if not todo:
        return
    with connected(todo[0].execution, scratch):
        _run(todo, on_beat, should_stop, scratch)


@contextmanager
def connected(
    execution: ExecutionConfig, scratch: Path, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Holds one connection to Ray for several calls of `run`.

    Args:
        execution: of the trials.
        scratch: this run's own folder.
        say: prints what a person should know of a cluster that was joined.
    """
    if ray.is_initialized():
        yield
        return
    try:
        session = connect(multi_worker=execution.num_workers > 1)
    except BaseException:  # Ctrl-C while it starts: what it started knows nothing of that
        ray.shutdown()
        for begun in ray_environment.private_folder().glob(f"session_*_{os.getpid()}"):
            end_processes_of(str(begun))
        raise
    if session is not None:
        record_session(scratch, session)
        before_leaving(partial(end_processes_of, session))
    try:
        if (address := ray_environment.cluster()) is not None:
            nodes = _nodes()
            on_cuda = capacity.on_cuda(nodes, execution, joined=True)
            say(f"cluster {address}: {capacity.outlook(nodes, execution, on_cuda)}")
        yield
    finally:
        with _own_signal_handlers():  # Ray takes them away, below what Python knows of
            ray.shutdown()
        if session is not None:
            end_processes_of(session)


def _run(
    todo: Sequence[Trial],
    on_beat: Callable[[Beat], None],
    should_stop: Callable[[], bool],
    scratch: Path,
) -> None:
    execution = todo[0].execution
    name = f"tune-{time.time_ns()}"
    stop_file = scratch / f"{name}.stop"
    try:
        nodes, joined = _nodes(), ray_environment.cluster() is not None
        on_cuda = capacity.on_cuda(nodes, execution, joined=joined)
        if not joined:
            capacity.check(nodes, execution, on_cuda)
        settings = {
            "stop_file": str(stop_file),
            "on_cuda": on_cuda,
            "concurrent_trials": min(capacity.sharing(nodes, execution, on_cuda), len(todo)),
            "storage_path": str(scratch / name / "train"),
            "scratch": str(scratch),
            "placement_tries": PLACEMENT_TRIES_JOINED if joined else PLACEMENT_TRIES,
        }
        by_id = {trial.trial_id: trial for trial in todo}
        listener = _Listener(by_id, on_beat, scratch)

        def is_over() -> bool:
            return listener.storage_error is not None or should_stop()

        run_config = tune.RunConfig(
            name=name,
            storage_path=str(scratch),
            callbacks=[listener],
            stop=_Stop(stop_file, is_over),
            failure_config=tune.FailureConfig(max_failures=-1),  # the listener counts
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        )
        limit = capacity.limit(nodes, execution, on_cuda)
        _fit(by_id, execution, settings, limit, run_config)
        if listener.storage_error is not None:
            raise StorageError(listener.storage_error)
        if not should_stop() and (lost := by_id.keys() - listener.ended):
            raise RuntimeError(f"Tune has ended and left {sorted(lost)} without a word")
    finally:
        stop_file.unlink(missing_ok=True)
        shutil.rmtree(scratch / name, ignore_errors=True)


def _fit(
    by_id: dict[str, Trial],
    execution: ExecutionConfig,
    settings: dict[str, Any],
    limit: int | None,
    run_config: tune.RunConfig,
) -> None:
    """One Tuner over exactly these trials; `settings` are what `ray_train.fit` takes by name.

    Without a limit Tune keeps trials pending, which is what an autoscaler sees.
    """
    trainable: Any = _TrialActor
    resources = capacity.of_worker(execution, settings["on_cuda"])
    if execution.num_workers > 1:
        # Its workers are placed by Train. CPU: 0 alone is refused, a pinch of memory is not.
        trainable, resources = _with_train, {"CPU": 0, "memory": 1 << 20}
    trainable = tune.with_parameters(trainable, by_id=by_id, settings=settings)
    tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"trial_id": tune.grid_search(list(by_id))},
        tune_config=tune.TuneConfig(
            reuse_actors=execution.num_workers == 1,
            max_concurrent_trials=limit,
            trial_name_creator=lambda trial: trial.config["trial_id"],
            trial_dirname_creator=lambda trial: trial.config["trial_id"],
        ),
        run_config=run_config,
    ).fit()


# -------------------------------------------------------------------------------- in Ray's actors


class _TrialActor(tune.Trainable):
    """One worker: runs trials one after the other in one process, a beat per `step`."""

    def setup(  # type: ignore[override]  # what `tune.with_parameters` adds
        self, config: dict[str, Any], by_id: dict[str, Trial], settings: dict[str, Any]
    ) -> None:
        self._by_id, self._settings = by_id, settings
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        from trainables.run import trial as trials

        self._has_failed = FAILED in config
        self._beats = trials.run(
            self._by_id[config["trial_id"]],
            should_stop=self._stopping,
            concurrent_trials=self._settings["concurrent_trials"],
            scratch=self._settings["scratch"],
            may_exit=True,
            node_id=ray.get_runtime_context().get_node_id(),
        )

    def _stopping(self) -> bool:
        return os.path.exists(self._settings["stop_file"])

    def step(self) -> dict[str, Any]:
        if self._has_failed:
            return {"done": True}
        try:
            beat = next(self._beats)
        except StorageError as error:
            return {STORAGE: str(error), "done": True}
        return asdict(beat) | {"done": beat.stage == "ended"}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True  # if not, Tune would drop the trial without a word

    def cleanup(self) -> None:
        """Lets a trial that is being stopped save its state; nothing is left of one that ended."""
        if self._stopping():
            for _ in self._beats:
                pass
        self._beats.close()


def _with_train(config: dict[str, Any], by_id: dict[str, Trial], settings: dict[str, Any]) -> None:
    """Several workers: a Tune function around Ray Train, which forwards rank 0's beats."""
    from trainables.run import ray_train

    if FAILED in config:
        return
    trial = by_id[config["trial_id"]]
    try:
        error = ray_train.fit(trial, callbacks=[TuneReportCallback()], **settings)
    except StorageError as full:
        tune.report({STORAGE: str(full)})
        return
    if error is not None:
        # What Python raised is on record and would be raised again; only crashes are tried again.
        tune.report(asdict(_failed(trial, error)))


# ------------------------------------------------------------------------------------ in the driver


class _StaysHere:
    """Tune pickles callbacks and stoppers into a state file, from which we never restore."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class _Listener(_StaysHere, tune.Callback):
    """Turns Tune's events into beats."""

    def __init__(
        self, by_id: dict[str, Trial], on_beat: Callable[[Beat], None], scratch: Path
    ) -> None:
        self._by_id, self._on_beat = by_id, on_beat
        self._crashes = Crashes(str(scratch), _node_lives)
        self.ended: set[str] = set()
        """Trials whose end was heard of."""
        self.storage_error: str | None = None
        """What the storage answered to a trial that could not write; the run ends with it."""

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        names = {f.name for f in fields(Beat)}
        self.storage_error = self.storage_error or result.get(STORAGE)
        if "stage" in result:
            heard = {name: value for name, value in result.items() if name in names}
            # Under the same key Tune puts an id of its own, a random one.
            self._hear(Beat(**(heard | {"trial_id": trial.config["trial_id"]})))

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Counts how often a trial's process died; on a node that is gone it costs nothing.

        Tune would take it up for ever. It cannot be told here to do otherwise: a trial that has
        failed is started once more, to end at once or, if its process dies again, by Tune.
        """
        own = self._by_id[trial.config["trial_id"]]
        with self._storage_may_fail():
            if self._crashes.count(own) > MAX_CRASHES:
                self._fail(own, trial)
                trial.config[FAILED], trial.max_failures = True, 0

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial that Tune does not take up again."""
        if FAILED not in trial.config:
            with self._storage_may_fail():
                self._fail(self._by_id[trial.config["trial_id"]], trial)

    def _fail(self, own: Trial, trial: Any) -> None:
        error = str(trial.get_pickled_error() or DIED).strip().splitlines()[-1]
        write_failure(own, error)
        self._hear(_failed(own, error))

    def _hear(self, beat: Beat) -> None:
        self.ended |= {beat.trial_id} if beat.stage == "ended" else set()
        self._on_beat(beat)

    @contextmanager
    def _storage_may_fail(self) -> Iterator[None]:
        try:
            yield
        except StorageError as full:
            self.storage_error = str(full)


def _node_lives() -> dict[str, bool]:
    return {node["NodeID"]: _answers(node) for node in ray.nodes()}


def _answers(node: dict[str, Any]) -> bool:
    """Whether a node is there. Ray takes half a minute to miss one that it has just lost."""
    if not node["Alive"]:
        return False
    try:
        place = node["NodeManagerAddress"], node["NodeManagerPort"]
        socket.create_connection(place, timeout=PING_SECONDS).close()
    except OSError:
        return False
    return True


def _failed(trial: Trial, error: str) -> Beat:
    return Beat(trial_id=trial.trial_id, stage="ended", fraction=1.0, status="failed", error=error)


class _Stop(_StaysHere, tune.Stopper):
    """Tells the actors through a file in the results folder, which every node sees, then Tune."""

    def __init__(self, stop_file: Path, should_stop: Callable[[], bool]) -> None:
        self._stop_file, self._should_stop = stop_file, should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if not self._should_stop():
            return False
        self._stop_file.touch()
        return True


# ------------------------------------------------------------------------------------ the cluster


def connect(*, multi_worker: bool, num_cpus: int | None = None) -> str | None:
    """Joins the cluster that a person names, or starts a closed Ray here.

    Args:
        multi_worker: whether trials have several workers. Then the dashboard's server is needed:
            it is what takes back the placement group of such a trial when it is stopped.
        num_cpus: cores that Ray started here may give out; default: all.

    Returns:
        Where Ray keeps its own files, if it was started here.
    """
    with _own_signal_handlers():
        session = _connect(multi_worker, num_cpus)
    # A trial that failed is told of by our own display; Tune would write its traceback over that.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    return session


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keeps those that are in force: Ray's for SIGTERM ends the process, and not by our code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    inner = ray._private.utils  # its own handler is in force while it starts, unless it is left out
    install = getattr(inner, INSTALLS, None)
    if install is not None:
        setattr(inner, INSTALLS, lambda handler: None)
    try:
        yield
    finally:
        if install is not None:
            setattr(inner, INSTALLS, install)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _connect(multi_worker: bool, num_cpus: int | None) -> str | None:
    # As of a client's job: else Ray puts the working directory before all else on its workers'
    # path, and a `torch.py` that lies there is imported in the place of torch.
    settings: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "job_config": JobConfig(_client_job=True),
    }
    if (address := ray_environment.cluster()) is not None:
        _join(address, settings)
        return None
    if ray_environment.IS_LATE:
        raise ImportError(
            "ray was imported before study.run.tune, which closes it; import it after"
        )
    # Never attach to a Ray that happens to run here, as `ray.init()` would.
    context = ray.init(
        "local",
        num_cpus=num_cpus,
        include_dashboard=multi_worker,
        dashboard_host="127.0.0.1",
        _temp_dir=str(ray_environment.private_folder()),
        **settings,
    )
    return str(context.address_info["session_dir"])  # type: ignore[attr-defined]


def _join(address: str, settings: dict[str, Any]) -> None:
    ray_environment.check_answers(address)
    own = {"env_vars": ray_environment.of_workers(address)}
    try:
        ray.init(address, runtime_env=own, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"{address}: this machine cannot join ({error}); a run starts on a node of the "
            f"cluster, and from elsewhere by {ray_environment.JOB}"
        ) from error


def _nodes() -> list[dict[str, float]]:
    """The resources of the nodes that are up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def ask_nodes(look: Callable[..., Answer], *told: Any) -> dict[str, Answer | Exception]:
    """What a function returns on each node of the cluster that is up, or raised; by node.

    Args:
        look: importable there; it takes no resources.
        told: its arguments.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    connect(multi_worker=False)
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        asked = {
            f"node {node['NodeID'][:6]}": task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(*told)
            for node in ray.nodes()
            if node["Alive"]
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=LOOK_SECONDS)
        return {name: _answer(future) for name, future in asked.items()}
    finally:
        ray.shutdown()


def _answer(future: Any) -> Any:
    try:
        return ray.get(future, timeout=0)
    except GetTimeoutError:
        return TimeoutError(f"no answer within {LOOK_SECONDS:.0f} s; is it overloaded?")
    except RayError as error:
        return error
