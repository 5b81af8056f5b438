"""Photos with their maps over them, on a page or as PNG."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from blurgate.errors import OutputError, PhotoError
from blurgate.pages import hash_script
from blurgate.scanning import explanations
from blurgate.scanning.explanations import write_explanations

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
QUIETLY = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
QUIETLY += ("disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=400,900")
HOSTILE = "</script><img src=x onerror=alert(1)> & \u202e.png"


@pytest.fixture
def photos(astronaut, tmp_path):
    """A sharp photo, a blurred one, a flat one, and a file that is no photo."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    picture = Image.fromarray(astronaut).crop((100, 0, 300, 160))
    picture.save(folder / "cat.png")
    picture.filter(ImageFilter.GaussianBlur(5)).save(folder / "deep" / HOSTILE.replace("/", "-"))
    Image.new("RGB", (100, 80), (90, 90, 90)).save(folder / "flat.png")
    (folder / "torn.jpg").write_text("no photo")
    return folder


@pytest.fixture
def run(explaining_model):
    return lambda paths, output, **options: list(write_explanations(paths, output, model=explaining_model, **options))


def test_a_page_shows_every_photo(run, photos, tmp_path):
    page = tmp_path / "page.html"
    explained = run([photos], page)
    assert [each.verdict.decision for each in explained] == ["sharp", "blurred", "undecided", "error"]
    text = page.read_text()
    assert (text.count("<article "), text.count('<img class="over"')) == (4, 3)
    assert "4 photos explained" in text
    assert "torn.jpg cannot be read" in text
    assert all(each.sentence in text for each in explained[:1])
    assert 'class="kinds"' in text
    assert hash_script(text) in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "&lt;-script&gt;&lt;img src=x onerror=alert(1)&gt; &amp; \\u202e.png" in text
    assert text.count("<script>") == 1
    run([photos], page)  # replaces its own
    page.write_text("<!doctype html>mine")
    with pytest.raises(OutputError, match="is not a page of explanations that blurgate wrote"):
        run([photos], page)


def test_facts_are_in_words(run, photos, tmp_path):
    explained = run([photos / "deep"], tmp_path / "page.html")[0]
    facts = explained.list_facts()
    assert facts["kind"].startswith("defocus (defocus 0.7")
    assert re.fullmatch(r"\d\.\d px \(\d\.\d to \d\.\d\)", facts["strength"])
    assert facts["in focus"].endswith(" of the picture") or "what can be told" in facts["in focus"]
    found = explained.to_json()
    assert (found["decision"], found["focus"]["share"], found["sentence"]) == (
        "blurred", explained.focus.share, explained.sentence,
    )  # fmt: skip


def test_one_photo_can_be_a_picture(run, photos, tmp_path):
    output = tmp_path / "a.png"
    explained = run([photos / "cat.png"], output)
    assert explained[0].picture == output
    with Image.open(output) as picture:
        assert (picture.mode, picture.size, picture.info["Software"]) == ("RGB", (200, 160), "blurgate explanation")
    with pytest.raises(ValueError, match="takes one photo, got 4: name a page"):
        run([photos], output)
    with pytest.raises(ValueError, match="is read and cannot be the output too"):
        run([photos / "cat.png"], photos / "cat.png")
    with pytest.raises(OutputError, match="is not an explanation that blurgate wrote"):
        run([photos / "cat.png"], photos / "flat.png")
    with pytest.raises(ValueError, match=r"output must be named .html or .png, or be a folder, got .*a.jpg"):
        run([photos / "cat.png"], tmp_path / "a.jpg")


def test_a_folder_gets_a_picture_of_each_photo(run, photos):
    shutil.copy(photos / "cat.png", photos / "cat.webp")
    said = []
    for _ in range(2):  # what the first run made is no photo, and is replaced
        explained = run([photos], photos / "out", say=said.append)
        assert [each.picture and each.picture.name for each in explained][:2] == ["cat.png", "cat (2).png"]
        assert len(explained) == 5
        assert len(list((photos / "out").rglob("*.png"))) == 4
    assert said == []
    run([photos], photos / "page.html", say=said.append)
    assert [line.split(":")[0] for line in said] == [f"left out {photos / 'out'}, where photos or pictures were filed"]


def test_nothing_is_written_if_no_photo_can_be_explained(run, photos, tmp_path):
    page = tmp_path / "page.html"
    with pytest.raises(PhotoError, match="torn.jpg cannot be read"):
        run([photos / "torn.jpg"], page)
    shutil.copy(photos / "torn.jpg", tmp_path / "torn.jpg")
    with pytest.raises(PhotoError, match="none of 2 photos could be explained: .*torn.jpg cannot"):
        run([photos / "torn.jpg", tmp_path / "torn.jpg"], page)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="found no photos"):
        run([tmp_path / "empty"], page)
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        run([Path("nowhere")], page)
    assert not page.exists()


@pytest.fixture
def browser(tmp_path):
    """Fails if the console reports an error."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("needs Chromium and ChromeDriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*QUIETLY, f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    errors = [entry["message"] for entry in driver.get_log("browser")]
    driver.quit()
    assert errors == []


def test_maps_are_shown_and_hidden_by_click_and_key(run, photos, tmp_path, browser):
    run([photos], tmp_path / "page.html")
    browser.get((tmp_path / "page.html").as_uri())
    toggles = browser.find_elements("css selector", ".toggle")

    def shown():
        return [toggle.get_attribute("aria-pressed") == "true" for toggle in toggles]

    assert shown() == [True, True, True]
    toggles[0].click()
    assert shown() == [False, True, True]
    browser.find_element("css selector", "body").send_keys("m")
    assert shown() == [False, False, False]
    toggles[1].send_keys("\n")
    assert shown() == [False, True, False]
    browser.find_element("id", "maps").click()
    assert shown() == [False, False, False]
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert all(toggle.accessible_name.startswith("Map of ") for toggle in toggles)


def test_a_photo_that_changes_meanwhile_is_an_error_of_its_own(run, photos, tmp_path, monkeypatch):
    original = explanations.explain

    def change(photo, **options):
        explanation = original(photo, **options)
        if Path(photo).name == "flat.png":
            Image.new("RGB", (70, 70)).save(photo)
        return explanation

    monkeypatch.setattr(explanations, "explain", change)
    explained = run([photos], tmp_path / "page.html")
    assert [each.verdict.decision for each in explained] == ["sharp", "blurred", "error", "error"]
    assert "has changed while it was explained" in explained[2].sentence
    assert (tmp_path / "page.html").exists()


def test_long_names_fit(run, photos, tmp_path):
    (photos / "torn.jpg").unlink()
    shutil.copy(photos / "cat.png", photos / f"{'x' * 251}.png")
    shutil.copy(photos / "cat.png", photos / f"{'x' * 251}.PNG")
    explained = run([photos], tmp_path / "pictures")
    assert len({each.picture for each in explained}) == len(explained) == 5
    assert all(each.picture.exists() for each in explained)


def test_without_an_output_nothing_is_written(run, photos, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert run([photos / "cat.png"], None)[0].sentence
    assert sorted(tmp_path.rglob("*")) == before
