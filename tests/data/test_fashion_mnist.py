import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from qjax.data import _fashion_mnist, fashion_mnist_folder, load, load_fashion_mnist
from qjax.errors import DataError
from tests.support.idx import NAMES, idx_bytes, write_fashion_mnist


@pytest.fixture(autouse=True)
def no_other_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves no place where real files could be found, and no network."""
    monkeypatch.delenv("QJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(_fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(_fashion_mnist, "ADDRESS", "http://127.0.0.1:9/")


class TestLoading:
    def test_arrays(self, tmp_path: Path) -> None:
        raw = write_fashion_mnist(tmp_path / "files")
        data = load_fashion_mnist(tmp_path / "files")
        assert data.train_x.shape == (60, 196)
        assert data.test_x.shape == (20, 196)
        assert (data.num_classes, data.image_shape, data.name) == (10, (14, 14), "fashion-mnist")
        pooled = raw[NAMES[0]].reshape(60, 14, 2, 14, 2).mean((2, 4)) / 255
        np.testing.assert_allclose(data.train_x, pooled.reshape(60, 196), rtol=1e-6)
        np.testing.assert_array_equal(data.test_y, raw[NAMES[3]])
        assert data.train_x.dtype == np.float32
        assert data.train_y.dtype == np.int32

    def test_first_samples_and_no_pooling(self, tmp_path: Path) -> None:
        raw = write_fashion_mnist(tmp_path)
        data = load_fashion_mnist(tmp_path, samples=7, pool=1)
        np.testing.assert_allclose(data.train_x * 255, raw[NAMES[0]][:7].reshape(7, -1), rtol=1e-6)
        assert len(data.train_y) == 7
        assert len(data.test_y) == 20

    @pytest.mark.parametrize("samples", [0, 61])
    def test_refuses_too_many_samples(self, tmp_path: Path, samples: int) -> None:
        write_fashion_mnist(tmp_path)
        with pytest.raises(DataError, match=f"between 1 and 60, .* but is {samples}"):
            load_fashion_mnist(tmp_path, samples=samples)

    def test_plain_files(self, tmp_path: Path) -> None:
        raw = write_fashion_mnist(tmp_path)
        for name in NAMES:
            content = gzip.decompress((tmp_path / name).read_bytes())
            (tmp_path / name).unlink()
            (tmp_path / name.removesuffix(".gz")).write_bytes(content)
        np.testing.assert_array_equal(load_fashion_mnist(tmp_path).test_y, raw[NAMES[3]])

    @pytest.mark.parametrize("name", NAMES)
    def test_names_the_missing_file(self, tmp_path: Path, name: str) -> None:
        write_fashion_mnist(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(DataError, match=f"{name}` must exist, but does not"):
            load_fashion_mnist(tmp_path)

    @pytest.mark.parametrize("name", NAMES)
    def test_names_the_truncated_file(self, tmp_path: Path, name: str) -> None:
        write_fashion_mnist(tmp_path)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=f"{name}` is damaged or cut short"):
            load_fashion_mnist(tmp_path)

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            (
                NAMES[0],
                np.zeros((60, 27, 28)),
                r"images of 28 x 28 pixels, but has .*\(60, 27, 28\)",
            ),
            (NAMES[1], np.zeros(59), r"one label for each of the 60 images, but has shape \(59,\)"),
            (NAMES[3], np.full(20, 10), "labels from 0 to 9, but holds 10"),
        ],
    )
    def test_refuses_files_that_do_not_belong(
        self, tmp_path: Path, name: str, values: np.ndarray, message: str
    ) -> None:
        write_fashion_mnist(tmp_path)
        (tmp_path / name).write_bytes(gzip.compress(idx_bytes(values)))
        with pytest.raises(DataError, match=f"{name}.*{message}"):
            load_fashion_mnist(tmp_path)


class TestSearch:
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        monkeypatch.setenv("QJAX_DATA_DIR", str(tmp_path / "named"))
        return [tmp_path / "named", tmp_path / "system", _fashion_mnist._cache_folder()]

    @pytest.mark.parametrize("first", [0, 1, 2])
    def test_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
        places = self.places(tmp_path, monkeypatch)
        for place in places[first:]:
            write_fashion_mnist(place)
        assert fashion_mnist_folder() == places[first]

    def test_argument_comes_before_everything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in [*self.places(tmp_path, monkeypatch), tmp_path / "mine"]:
            write_fashion_mnist(place)
        assert fashion_mnist_folder(tmp_path / "mine") == tmp_path / "mine"

    def test_subfolder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QJAX_DATA_DIR", str(tmp_path / "named"))
        write_fashion_mnist(tmp_path / "named" / "fashion-mnist")
        assert fashion_mnist_folder() == tmp_path / "named" / "fashion-mnist"

    def test_an_argument_without_the_files_is_an_error(self, tmp_path: Path) -> None:
        write_fashion_mnist(tmp_path / "system")
        with pytest.raises(
            DataError, match="must lie in one of `.*empty` or a subfolder .*data-dir"
        ):
            load("fashion-mnist", data_dir=tmp_path / "empty")

    def test_without_download(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="must lie in one of `.*system`, `"):
            fashion_mnist_folder(download=False)


class TestDownload:
    def test_into_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pooch = pytest.importorskip("pooch")
        write_fashion_mnist(tmp_path / "server")
        asked = []

        def retrieve(url: str, known_hash: str, *, fname: str, path: Path) -> None:
            asked.append((url, known_hash))
            path.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "server" / fname, path)

        monkeypatch.setattr(pooch, "retrieve", retrieve)
        assert len(load_fashion_mnist().train_x) == 60
        assert [url.rpartition("/")[2] for url, _ in asked] == list(NAMES)
        assert all(known_hash.startswith("md5:") for _, known_hash in asked)
        load_fashion_mnist()
        assert len(asked) == 4  # the second time they are in the cache

    def test_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooch = pytest.importorskip("pooch")

        def retrieve(*_: object, **__: object) -> None:
            raise ConnectionError("a long story")

        monkeypatch.setattr(pooch, "retrieve", retrieve)
        message = r"could not be downloaded from http.*gz to `.*` \(ConnectionError\)\. Try again"
        with pytest.raises(DataError, match=message):
            load_fashion_mnist()

    def test_wrong_checksum(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pooch = pytest.importorskip("pooch")

        def download(url: str, output_file: str, *_: object, **__: object) -> None:
            Path(output_file).write_bytes(b"something else")

        monkeypatch.setattr(pooch.downloaders, "HTTPDownloader", lambda **_: download)
        monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: download)
        with pytest.raises(DataError, match=r"could not be downloaded .*hash"):
            load_fashion_mnist()
        assert not list(_fashion_mnist._cache_folder().glob("*.gz"))

    def test_without_pooch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pooch", None)
        with pytest.raises(DataError, match=r"needs pooch; install .*qjax-qml\[data\].*--data-dir"):
            load_fashion_mnist()


class TestRegistry:
    def test_unknown_dataset(self) -> None:
        message = "`dataset` must be one of digits, fashion-mnist, but is 'mnist'"
        with pytest.raises(DataError, match=message):
            load("mnist")


def real_folder() -> Path | None:
    """Where the real files are, if they are on this machine."""
    try:
        return fashion_mnist_folder(download=False)
    except DataError:
        return None


REAL = real_folder()


@pytest.mark.skipif(REAL is None, reason="Fashion-MNIST is not on this machine (QJAX_DATA_DIR)")
def test_the_real_files() -> None:
    data = load_fashion_mnist(REAL, samples=500)
    assert data.train_x.shape == (500, 196)
    assert data.test_x.shape == (10_000, 196)
    assert data.test_x.max() == 1
    np.testing.assert_array_equal(np.bincount(data.test_y), np.full(10, 1000))
    np.testing.assert_array_equal(data.train_y[:10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5])
    assert (data.train_x.sum(1) > 0).all()  # no image is the zero vector
