"""Settings are divided into those of the run and of the model, validated, and corrected by suggestions."""

from pathlib import Path

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec
from laclrec_tf.training.config import TrainConfig, parse_assignments, read_settings, setting_names
from laclrec_tf.training.setup import new_model


def test_settings_are_divided_into_run_and_model():
    config = TrainConfig.of({"preset": "cl4srec", "epochs": 3, "width": 32, "random_kinds": "crop, mask"})
    assert config.epochs == 3
    assert config.random_kinds == ("crop", "mask")
    assert config.model == {"width": 32}


def test_edited_histories_may_be_short():
    assert TrainConfig.of({"max_edited_length": 12}).model == {"max_edited_length": 12}


def test_defaults_that_depend_on_other_settings_are_printed_in_words(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["settings"])
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "label_smoothing = 0.2, or 0.0 with n_negatives" in lines and "width = 64" in lines
    assert len(lines) == len(setting_names())


def test_assignments_are_read_as_people_write_them():
    assert parse_assignments(["width=32", "learning_rate=1e-3", "can_delete=false", "decision=gumbel"]) == {
        "width": 32,
        "learning_rate": 0.001,
        "can_delete": False,
        "decision": "gumbel",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 32}, "Unknown setting 'widht'. Did you mean 'width'?"),
        ({"epoch": 3}, "Did you mean 'epochs'?"),
        ({"preset": "lacrec"}, "Unknown preset 'lacrec'.*Did you mean 'laclrec'?"),
        ({"epochs": 0}, "Setting 'epochs'.*greater than or equal to 1.*Received: 0"),
        ({"learning_rate": "fast"}, "Setting 'learning_rate'.*Received: 'fast'"),
        ({"width": "wide"}, "Setting 'width'.*Received: 'wide'"),
        ({"can_delete": "maybe"}, "Setting 'can_delete'"),
        ({"decision": "coin"}, "must be one of argmax, gumbel, noise"),
        ({"alpha": -1}, "`alpha` must be 0 or above"),
        ({"width": 9}, "`width` must be a multiple of `n_heads`"),
        ({"random_kinds": "crop,shuffle"}, "random_kinds"),
        ({"corruption_noise": "rare"}, "Setting 'corruption_noise'.*'uniform' or 'popular'.*Received: 'rare'"),
        ({"random_kinds": []}, "Setting 'random_kinds'.*at least 1 item"),
        ({"similarity": "foo"}, "`similarity` must be one of dot, cosine. Received: similarity='foo'"),
        ({"temperature": 0}, "`temperature` must be above 0. Received: temperature=0"),
        ({"temperature": -1.0}, "`temperature` must be above 0"),
        ({"temperature": float("nan")}, "`temperature` must be a finite number. Received: temperature=nan"),
        ({"alpha": float("nan")}, "`alpha` must be a finite number"),
        ({"beta": float("inf")}, "`beta` must be a finite number"),
        ({"decision_temperature": float("nan")}, "`decision_temperature` must be a finite number"),
        ({"learning_rate": float("inf")}, "Setting 'learning_rate'.*finite number"),
        ({"averaging_epochs": float("inf")}, "Setting 'averaging_epochs'.*finite number"),
        ({"seed": 5_000_000_000}, "Setting 'seed'.*less than or equal to 4294967295"),
        ({"preset": "cl4srec", "beta": 0.5}, "'beta' weighs the triplet loss.*contrast_views=random-learned"),
        ({"refit_epochs": 3}, "'refit_epochs' changes nothing without a refit. Received: refit_epochs=3. Remove it"),
        ({1: 2}, "Unknown setting 1. `laclrec-tf settings` lists them"),
    ],
)
def test_an_invalid_setting_is_named_in_one_line(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        TrainConfig.of(settings)
    assert "\n" not in str(caught.value)


def test_an_assignment_that_is_no_yaml_is_text():
    assert parse_assignments(["a=2024-13-45", "b={"]) == {"a": "2024-13-45", "b": "{"}


@pytest.mark.parametrize("assignment", ["width", "=3", "width="])
def test_assignments_need_a_key_and_a_value(assignment):
    with pytest.raises(InputError, match="must be key=value"):
        parse_assignments([assignment])


def test_settings_file(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("width: 32\nepochs: 2\n")
    assert read_settings(file) == {"width": 32, "epochs": 2}
    file.write_text("just words")
    with pytest.raises(InputError, match="must have lines like"):
        read_settings(file)
    file.write_text("a: [1")
    with pytest.raises(InputError, match="not valid YAML"):
        read_settings(file)
    with pytest.raises(InputError, match="Cannot read .*none.yaml: No such file"):
        read_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("width: 32\n\tseed: 1\n", r", line 2: found character '\\t' that cannot start any token.$"),
        ("width: 32\nseed: 1\nwidth: 64\n", ", line 3: 'width' is on line 1 already.$"),
        ("models:\n  one: {}\n  two: {}\n  one: {}\n", ", line 4: 'one' is on line 2 already.$"),
        ('{"width": 32, "width": 64}', ", line 1: 'width' is on line 1 already.$"),
        ("width: 32\ntitle: 2024-13-45\n", ", line 2: month must be in 1..12.$"),
        ('width: 32\ntitle: "\x07"\n', ", line 2: unacceptable character #x0007"),
        ("width: 32\na: *b\n", ", line 2: found undefined alias 'b'.$"),
    ],
)
def test_a_mistake_in_a_settings_file_has_its_line(tmp_path, text, problem):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=f"The settings file {file} is not valid YAML{problem}"):
        read_settings(file)


def test_a_settings_file_in_json_may_have_tabs(tmp_path):
    (tmp_path / "settings.json").write_text('{\n\t"width":\t32,\n\t"epochs": 2\n}\n')
    assert read_settings(tmp_path / "settings.json") == {"width": 32, "epochs": 2}


def test_every_setting_is_listed_with_its_default():
    names = setting_names()
    assert names["epochs"] == TrainConfig().epochs
    assert names["alpha"] == LACLRec(1, width=2).alpha
    assert "n_items" not in names


def test_resolved_settings_include_those_of_preset_and_constructor():
    resolved = TrainConfig.of({"preset": "cl4srec", "alpha": 0.02, "seed": 3}).resolved()
    model = resolved["model"]
    assert resolved["seed"] == 3 and resolved["targets_per_batch"] == 512
    # A given setting, one of the preset, and one of the constructor.
    assert (model["alpha"], model["contrast_views"], model["width"]) == (0.02, "random-random", 64)
    assert set(model) | set(resolved) - {"model"} == set(setting_names())


@pytest.mark.parametrize("n_negatives", [0, 4])
def test_resolved_settings_include_dependent_defaults(n_negatives):
    resolved = TrainConfig.of({"n_negatives": n_negatives}).resolved()
    expected = ("random", 0) if n_negatives else ("cooccurrence", 1)
    assert (resolved["item_initialisation"], resolved["averaging_epochs"]) == expected
    assert resolved["model"]["label_smoothing"] == LACLRec(1, n_negatives=n_negatives).label_smoothing
    assert [name for name, value in {**resolved, **resolved["model"]}.items() if value is None] == ["refit_epochs"]


@pytest.mark.parametrize("max_length", [50, 100])
def test_every_setting_has_the_max_edited_length_of_the_model(max_length):
    for given in ({}, {"max_edited_length": 150}):
        model = LACLRec(1, width=2, max_length=max_length, **given)
        assert TrainConfig.of(given).every_setting(max_length)["max_edited_length"] == model.max_edited_length


def test_given_settings_override_dependent_defaults():
    settings = {"item_initialisation": "random", "averaging_epochs": 0.5, "label_smoothing": 0.0}
    resolved = TrainConfig.of(settings).resolved()
    assert {name: {**resolved, **resolved["model"]}[name] for name in settings} == settings


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_the_recipes_are_accepted(recipe):
    config = TrainConfig.of(read_settings(recipe))
    assert config.every_setting() != TrainConfig.of({}).every_setting()


def test_the_rivals_of_the_papers_recipe_lack_its_terms():
    recipe = Path(__file__).parents[2] / "recipes/paper.yaml"
    options = [line.removeprefix("#").split() for line in recipe.read_text().splitlines() if "  --preset" in line]
    terms = {}
    for option in options:
        changed = parse_assignments([word for word in option if "=" in word])
        config = TrainConfig.of(read_settings(recipe) | {"preset": option[1]} | changed)
        terms[option[1]] = new_model(config, 20, 50).term_weights
    assert terms == {"cl4srec": {"next_item_loss": 1, "contrast_loss": 0.1}, "sasrec": {"next_item_loss": 1}}
    full = new_model(TrainConfig.of(read_settings(recipe)), 20, 50).term_weights
    assert full == {"next_item_loss": 1, "contrast_loss": 0.1, "triplet_loss": 0.256}
