"""Where an autoencoder is: in a folder, in one of several sites, or on the Hugging Face hub."""

from pathlib import Path

from minimech import MinimechError
from minimech.files import SHIPPED, read_json, why
from minimech.hooks import nearest_words

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# Names of published sets: repository and revision.
PUBLISHED = {
    "gpt2-small-res-jb": (
        "jbloom/GPT2-Small-SAEs-Reformatted",
        "5bd69d8ccac6b19d91934c5aeed4866f8b6e50c7",
    ),
}


def find(folder_or_repo, site: str) -> Path:
    """Return the folder of the two files: here, in the repository, or in the hub's cache."""
    for asked in (folder_or_repo, site):
        if not isinstance(asked, str | Path):
            raise MinimechError(f"{asked!r} names no autoencoder: expected a folder, or a name")
    for folder in (Path(folder_or_repo), SHIPPED.parent / folder_or_repo):
        if folder.is_dir():
            return within(folder, site)
    name = str(folder_or_repo)
    known = PUBLISHED | {repo: (repo, revision) for repo, revision in PUBLISHED.values()}
    repo, revision = known.get(name, (name, None))
    if repo.count("/") != 1 or repo.startswith((".", "/")):
        shipped = [f"weights/sae/{path.parent.name}" for path in SHIPPED.glob(f"sae/*/{CONFIG}")]
        hint = nearest_words(name, [*PUBLISHED, *shipped]) + " "
        raise MinimechError(
            f"there is no folder called {name!r}. {hint.lstrip()}Known are {', '.join(PUBLISHED)}, "
            f"any folder that holds {CONFIG}, and owner/name on the hub"
        )
    if name in known and not site:
        raise MinimechError(
            f"{name} has one for each site, such as blocks.8.hook_resid_pre: which?"
        )
    return fetch(repo, revision, site)


def within(folder: Path, site: str) -> Path:
    """Return the folder, or its subfolder, that is of this site."""
    sites = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if site in sites:
        return folder / site
    if (folder / CONFIG).exists():
        file = flat(read_json(folder / CONFIG))
        got = file.get("hook_name", file.get("hook_point"))
        if site and site != got:
            raise MinimechError(f"{folder} is of {got}, and you asked for {site}")
        return folder
    if not sites:
        raise MinimechError(f"{folder} holds no autoencoder (no {CONFIG})")
    asked = f"{folder} has none of {site!r}. {nearest_words(site, sites)}" if site else "which one?"
    raise MinimechError(f"{asked} {folder} holds {', '.join(sites)}")


def fetch(repo: str, revision: str | None, site: str) -> Path:
    """Download the two files into the hub's cache, or find them there."""
    import huggingface_hub as hub

    for file in (CONFIG, WEIGHTS):
        file = f"{site}/{file}" if site else file
        path = hub.try_to_load_from_cache(repo, file, revision=revision)
        if isinstance(path, str):
            continue
        try:  # ask once: the client would try half a minute to reach a network that is not there
            hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, revision=revision), token=False)
            path = hub.hf_hub_download(repo, file, revision=revision, token=False)
        except Exception as error:  # the client's own kinds, and those of the library below it
            why_not = (
                why(error) if isinstance(error, OSError) and error.errno else type(error).__name__
            )
            raise MinimechError(
                f"{file} of {repo} is not on this machine and could not be downloaded ({why_not}); "
                "with a network, look whether the repository has that site"
            ) from None
    return Path(path).parent


def flat(file: dict) -> dict:
    """Bring the keys of SAELens 6's "metadata" to the top."""
    inner = file.get("metadata") or file.get("meta") or {}
    return {**inner, **file} if isinstance(inner, dict) else file
