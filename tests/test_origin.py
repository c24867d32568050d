"""A record names the commit of this package, never that of a project in which it is installed."""

import importlib.util
import shutil
import subprocess
from importlib import metadata

import pytest

from simflow import origin

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def git(folder, *words):
    me = ("-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *me, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder):
    """Makes a folder a repository of all that is in it; gives its commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", folder.name)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def _no_git_of_the_caller(monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path):
    """Somebody's repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    committed(folder)
    return folder


def installed(folder):
    """``simflow.origin`` as a package below ``folder`` would have it."""
    package = folder / "simflow"
    package.mkdir(parents=True)
    file = shutil.copy(origin.__file__, package / "origin.py")
    spec = importlib.util.spec_from_file_location("copied_origin", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_checkout_says_its_commit_and_whether_the_package_differs(tmp_path):
    copy = installed(tmp_path)
    head = committed(tmp_path)
    assert copy.git_revision() == head
    (tmp_path / "notes.txt").write_text("untracked, and none of the package")
    assert copy.git_revision() == head
    (tmp_path / "simflow" / "origin.py").write_text("changed")
    assert copy.git_revision() == f"{head}+"


def test_a_package_inside_another_repository_does_not_take_its_commit(project):
    assert installed(project / ".venv" / "lib" / "site-packages").git_revision() is None


def test_nor_does_a_damaged_checkout_there(project):
    inside = project / "simflow-main"
    copy = installed(inside)
    (inside / ".git").mkdir()
    assert copy.git_revision() is None


def test_the_variables_of_a_hook_do_not_matter(tmp_path, project, monkeypatch):
    copy = installed(tmp_path / "mine")
    head = committed(tmp_path / "mine")
    monkeypatch.setenv("GIT_DIR", str(project / ".git"))
    assert copy.git_revision() == head


def test_a_work_tree_of_a_checkout_counts(tmp_path):
    installed(tmp_path / "mine")
    head = committed(tmp_path / "mine")
    git(tmp_path / "mine", "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    copy = tmp_path / "tree" / "simflow"
    shutil.rmtree(copy)
    assert installed(tmp_path / "tree").git_revision() == head


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    copy = installed(tmp_path)
    committed(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert copy.git_revision() is None


def test_what_is_not_installed_has_no_version(monkeypatch):
    assert origin.version("simflow-that-nobody-made") is None
    assert origin.version("torch") == metadata.version("torch")
