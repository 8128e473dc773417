"""What a training leaves on disk, so that the same command goes on where it stopped.

`resume.pt`: weights, the optimiser's moments, which features are silent, the curves so far, and the
settings, for a run is gone on with by the same settings only. It is written aside, and then takes
the old one's place: whenever a run is killed, one whole state is there.
"""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from lessons.techniques.sae import files
from minimech import MinimechError
from minimech.files import why
from weights.sums import write_sums

STATE, CURVES = "resume.pt", "history.json"


class Saved:
    """A folder in which a training with these settings saves its state."""

    def __init__(self, folder, settings: dict):
        self.folder, self.path = Path(folder), Path(folder) / STATE
        self.settings, self.step = settings, 0

    def load(self, run, fresh: bool = False) -> list[dict]:
        """Bring a training to the state that was saved, if any; return its rows so far.

        fresh: forget that state. Raises: MinimechError naming the setting that differs, or a file
        that cannot be read.
        """
        self.try_folder()
        if fresh:
            self.path.unlink(missing_ok=True)
            return []
        if not self.path.exists():
            if (self.folder / files.CONFIG).exists():
                has = f"{self.folder} holds an autoencoder, and no {STATE} to go on from"
                raise MinimechError(f"{has}; another folder, or --fresh to replace it")
            return []
        try:
            where = run.sae.W_dec.device
            state = torch.load(self.path, weights_only=True, map_location=where)
            there, rows = json.loads(state["settings"]), json.loads(state["rows"])
            self.same(there)
            run.sae.load_state_dict(state["sae"])
            run.adam.load_state_dict(state["adam"])
            run.silent.copy_(state["silent"])
        except MinimechError:
            raise
        except Exception as error:  # a damaged file fails in many ways
            what = f"{self.path} cannot be read ({type(error).__name__})"
            raise MinimechError(f"{what}; --fresh starts over") from None
        run.steps = self.step = state["step"]
        return rows

    def try_folder(self) -> None:
        """Refuse, before any work is done, a folder in which nothing can be written."""
        aside = self.path.with_suffix(".try")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside.touch()
            aside.unlink(missing_ok=True)  # another process may have been faster
        except OSError as error:
            raise MinimechError(f"nothing can be saved in {self.folder}: {why(error)}") from None

    def same(self, there: dict) -> None:
        """Refuse to go on with other settings."""
        for key in sorted(there | self.settings):
            got, asked = there.get(key), self.settings.get(key)
            if got != asked and key in ("model", "scale", "store"):  # no option asks for these
                of = f"{self.path} is of a training on another store, or on what this one was"
                raise MinimechError(f"{of}; take another folder, or --fresh")
            if got != asked:
                of = f"{self.path} is of a training with {key} {got}, and you asked for {asked}"
                raise MinimechError(f"{of}; ask for {got}, take another folder, or --fresh")

    def save(self, run, rows: list[dict]) -> None:
        """Write the state aside, and put it in the place of the old one."""
        weights = run.sae.state_dict()
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise MinimechError(f"weights are no numbers after step {run.steps}; {self.kept()}")
        state = {"sae": weights, "adam": run.adam.state_dict(), "silent": run.silent}
        state |= {"step": run.steps, "rows": json.dumps(rows)}
        state |= {"settings": json.dumps(self.settings)}
        aside = self.path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as out:
                torch.save(state, out)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(self.path)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            hidden = error.__context__  # torch.save says "unexpected pos" where a disk is full
            said = why(hidden if isinstance(hidden, OSError) else error).splitlines()[0]
            raise MinimechError(f"step {run.steps} was not saved: {said}; {self.kept()}") from None
        self.step = run.steps

    def finish(self, run, rows: list[dict]) -> None:
        """Write the autoencoder, its curves and checksums."""
        files.save(run.sae, self.folder)
        curves = {key: [float(f"{row[key]:.5g}") for row in rows] for key in rows[0]}
        text = json.dumps({"settings": self.settings, "curves": curves}).replace("], ", "],\n")
        try:
            (self.folder / CURVES).write_text(text + "\n")
            write_sums(self.folder, [files.CONFIG, CURVES, files.WEIGHTS])
        except OSError as error:
            raise MinimechError(f"{CURVES} was not written: {why(error)}") from None

    def kept(self) -> str:
        """Say what is safe."""
        return f"{self.path} keeps step {self.step}" if self.step else "nothing was saved before"


def settings(cfg, plan, store, batch: int, seed: int) -> dict:
    """Return all that the weights depend on, as json gives it back."""
    every = asdict(cfg) | asdict(plan) | {"store": store.id[:12], "batch": batch, "seed": seed}
    return json.loads(json.dumps(every))
