"""``groupwise explain``: the worked example's numbers through the command line, what is printed, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import warm

from groupwise import recipes
from groupwise.cli import main

EXAMPLE = json.loads((Path(__file__).parents[1] / "algorithm" / "worked_example.json").read_text())
FIXTURE, CORE, ADVANTAGES, PPO = (EXAMPLE[name] for name in ("fixture", "core", "advantages", "ppo"))
NAMES = {
    "logp": "logprobs",
    "old": "old_logprobs",
    "rollout": "behavior_logprobs",
    "ref": "reference_logprobs",
    "values_new": "values",
    "values": "old_values",
    "reward": "reward",
}
Explain = Callable[..., dict[str, Any]]

AS_PRINTED = ("--algorithm.advantage.last_step", "text")
"""The paper's index(K) letter by letter: EOS belongs to no step."""


def response(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    steps = [list(pair) for pair in zip(given["step_ends"], given["step_rewards"], strict=True)]
    return {NAMES[name]: given[name] for name in NAMES} | {"step_rewards": steps} | changes


def case(**changes: Any) -> dict[str, Any]:
    groups = [[response(given, **changes) for given in group] for group in FIXTURE["groups"]]
    return {"groups": groups, "greedy_rewards": FIXTURE["greedy"]}


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    """``explain(method, *options, case=...)``: what --json prints."""

    def run(method: str, *options: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        (tmp_path / "case.json").write_text(json.dumps(given or case()))
        assert main(["explain", method, "--case", str(tmp_path / "case.json"), "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def column(found: dict[str, Any], name: str) -> list[list[float]]:
    return [tokens[name] for group in found["groups"] for tokens in group]


def same(found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> bool:
    return [len(row) for row in found] == [len(row) for row in expected] and all(
        a == pytest.approx(b, abs=1e-9) for a, b in zip(found, expected, strict=True)
    )


def per_token(groups: Sequence[Sequence[float]]) -> list[list[float]]:
    """The example gives one number a completion, group by group."""
    lengths = [len(given["logp"]) for group in FIXTURE["groups"] for given in group]
    flat = [value for group in groups for value in group]
    return [[value] * length for value, length in zip(flat, lengths, strict=True)]


def flat(groups: Sequence[Sequence[Any]]) -> list[Any]:
    return [row for group in groups for row in group]


def negative(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[-value for value in row] for row in rows]


NO_KL = ("--algorithm.kl.coefficient", "0")
LIVE = ("--algorithm.kl.weight", "live")
UNIFIED = CORE["unified_paradigm"]


@pytest.mark.parametrize(
    ("method", "options", "loss", "gradient"),
    [
        ("grpo", (), CORE["loss"]["seq_mean_token_mean"]["surrogate_minus_beta_k3"], "grpo_seq_mean_k3"),
        (
            "grpo",
            LIVE,
            CORE["loss"]["seq_mean_token_mean"]["surrogate_minus_beta_weighted_k3"],
            "grpo_seq_mean_weighted_k3",
        ),
        ("grpo", NO_KL, CORE["loss"]["seq_mean_token_mean"]["surrogate_only"], None),
        ("dapo", (), CORE["loss"]["token_mean_batch"]["clip_higher_no_kl"], "dapo_token_mean_no_kl"),
        ("dr_grpo", ("--algorithm.aggregation.length", "4"), CORE["dr_grpo_loss"], None),
        ("grpo_process", AS_PRINTED, CORE["process_grpo_loss_seq_mean"], None),
        ("gmpo", (), CORE["gmpo"]["loss"], CORE["gmpo_dloss_dlogp"]),
        ("sapo", (), CORE["sapo"]["loss_seq_mean"], CORE["sapo"]["dloss_dlogp"]),
        ("cispo", (), CORE["cispo"]["loss_token_mean"], CORE["cispo"]["dloss_dlogp"]),
        ("sft", (), UNIFIED["sft_gc_1"]["loss"], UNIFIED["sft_gc_1"]["dloss_dlogp"]),
        *(
            (name, (), *(UNIFIED["rft_gc_indicator_reward>=1"][key] for key in ("loss", "dloss_dlogp")))
            for name in ("rft", "online_rft")
        ),
    ],
)
def test_losses_and_gradients(explain: Explain, method: str, options: tuple, loss: float, gradient: Any) -> None:
    found = explain(method, *options)
    assert found["loss"] == pytest.approx(loss, abs=1e-9)
    assert found["objective"] == -found["loss"]
    if gradient is not None:
        expected = CORE["dloss_dlogp"][gradient] if isinstance(gradient, str) else gradient
        assert same(column(found, "coefficients"), negative(expected))


def test_ratios_penalties_and_weights(explain: Explain) -> None:
    found = explain("grpo")
    assert same(column(found, "ratios"), CORE["ratio"])
    assert same(column(found, "kl"), CORE["kl"]["k3"])
    assert same(column(found, "weights"), [[1 / len(row) / 6] * len(row) for row in CORE["ratio"]])
    tokens = flat(column(found, "clipped"))
    assert sum(tokens) / len(tokens) == pytest.approx(sum(CORE["clip_fraction_eps"][side] for side in ("high", "low")))
    assert all(type(value) is bool for value in tokens)
    assert same(column(explain("grpo", *LIVE), "kl"), CORE["kl"]["importance_weighted_k3"])
    assert same(column(explain("grpo", "--algorithm.kl.estimator", "k2"), "kl"), CORE["kl"]["k2"])


@pytest.mark.parametrize("bounds", FIXTURE["gspo"])
def test_sequence_ratios(explain: Explain, bounds: list[float]) -> None:
    expected = CORE["gspo"]["eps({},{})".format(*bounds)]
    options = ["--algorithm.objective.low", str(bounds[0]), "--algorithm.objective.high", str(bounds[1])]
    found = explain("gspo", *options)
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-9)
    assert same(column(found, "coefficients"), negative(expected["dloss_dlogp"]))
    assert [row[0] for row in column(found, "ratios")] == pytest.approx(CORE["gspo"]["s"], abs=1e-9)
    assert [row[0] for row in column(found, "clipped")] == expected["clipped"]
    found = explain("GSPO-token", *options, *AS_PRINTED)
    assert found["loss"] == pytest.approx(expected["gspo_token_loss_process_ddof1"], abs=1e-9)
    assert same(column(found, "coefficients"), negative(expected["gspo_token_dloss_dlogp"]))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ((), "ppo_clip"),
        (("--algorithm.objective.high", "0.28"), "clip_higher"),
        (("--algorithm.objective.dual", "3"), "dual_clip"),
        (("--algorithm.objective.ceiling", "2"), "two_sided_delta"),
    ],
)
def test_clips(explain: Explain, options: tuple, name: str) -> None:
    """The mean over completions of the mean of their surrogate terms."""
    terms = CORE["surrogate_terms"][name]
    expected = sum(sum(row) / len(row) for row in terms) / len(terms)
    assert explain("grpo", *NO_KL, *options)["objective"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("method", "options", "name"),
    [
        ("grpo", (), "outcome_ddof1_eps0"),
        ("grpo", ("--algorithm.advantage.ddof", "0"), "outcome_ddof0_eps0"),
        ("grpo", ("--algorithm.advantage.epsilon", "1e-4"), "outcome_ddof1_eps1e-4_trl"),
        ("grpo", ("--algorithm.advantage.epsilon", "1e-6"), "outcome_ddof1_eps1e-6_verl"),
        ("grpo", ("--algorithm.advantage.epsilon", "1e-8"), "outcome_ddof1_eps1e-8_oat"),
        ("grpo", ("--algorithm.advantage.scale", "none"), "mean_only"),
        ("dr_grpo", (), "mean_only"),
        ("rloo", NO_KL, "rloo"),
        ("remax", (), "remax"),
        ("lite_ppo", (), "group_mean_batch_raw_std_ddof1"),
        ("lite_ppo", ("--algorithm.advantage.ddof", "0"), "group_mean_batch_raw_std_ddof0"),
        (
            "REINFORCE++-baseline",
            ("--algorithm.whitening.epsilon", "0"),
            "reinforcepp_baseline_token_ddof1",
        ),
        *(
            (
                "reinforce_plus_plus_baseline",
                tuple(f"--algorithm.whitening.{option}" for option in ("unit=sequences", "epsilon=0", f"ddof={ddof}")),
                f"reinforcepp_baseline_seq_ddof{ddof}",
            )
            for ddof in (0, 1)
        ),
    ],
)
def test_outcome_advantages(explain: Explain, method: str, options: tuple, name: str) -> None:
    assert same(column(explain(method, *options), "advantages"), per_token(ADVANTAGES[name]))


@pytest.mark.parametrize("ddof", ["0", "1"])
def test_process_advantages(explain: Explain, ddof: str) -> None:
    """As the paper's formula reads letter by letter; by the recipe EOS of the third row belongs to its last step."""
    found = explain("grpo_process", *AS_PRINTED, "--algorithm.advantage.ddof", ddof)
    whole = explain("grpo_process", "--algorithm.advantage.ddof", ddof)
    changed = [row for row in range(6) if column(found, "advantages")[row] != column(whole, "advantages")[row]]
    assert changed == [2]
    assert column(whole, "advantages")[2] == [column(found, "advantages")[2][0]] * 3
    assert same(column(found, "advantages"), flat(ADVANTAGES[f"process_ddof{ddof}_eps0"]))


def test_two_rewards(explain: Explain) -> None:
    given, expected = case(), ADVANTAGES["two_rewards"]
    for group, second in zip(given["groups"], FIXTURE["rewards2"], strict=True):
        for member, other in zip(group, second, strict=True):
            member["rewards"] = {"answer": member.pop("reward"), "format": other}
    given["reward_weights"] = dict(zip(("answer", "format"), FIXTURE["reward_w"], strict=True))
    found = column(explain("gdpo", given=given), "advantages")
    assert same(found, per_token(expected["gdpo_normalize_then_sum_ddof1_eps1e-4"]))
    found = column(explain("grpo", "--algorithm.advantage.epsilon", "1e-4", given=given), "advantages")
    assert same(found, per_token(expected["sum_then_normalize_ddof1_eps1e-4"]))


BETA = ("--algorithm.kl.coefficient", str(FIXTURE["ppo_beta"]))


@pytest.mark.parametrize("lam", ["0.95", "1.0", "0.0"])
def test_critic_methods(explain: Explain, lam: str) -> None:
    expected, options = PPO[f"gamma1.0_lam{lam}"], [*BETA, "--algorithm.advantage.lam", lam]
    plain = explain("ppo", *options, "--algorithm.whitening.unit", "none")
    assert same(column(plain, "advantages"), expected["advantages"])
    assert same(column(plain, "kl"), [[0.1, -0.1], [-0.2], [0.1, 0.0, -0.3], [-0.2, 0.0], [0.0, 0.2], [-0.5]])
    for ddof in ("0", "1"):
        white = explain("ppo", *options, "--algorithm.whitening.ddof", ddof)
        assert same(column(white, "advantages"), expected[f"whitened_ddof{ddof}"])


@pytest.mark.parametrize(("clip", "name"), [("0.2", "clipped"), ("0", "unclipped")])
def test_value_loss(explain: Explain, clip: str, name: str) -> None:
    """The loss with a critic's weight of 1 less that with a weight of 0."""
    options = [*BETA, "--algorithm.critic.clip", clip, "--algorithm.critic.coefficient"]
    found, without = (explain("ppo", *options, weight) for weight in ("1", "0"))
    expected = PPO["gamma1.0_lam0.95"]["value_loss"][f"{name}_token_mean_half"]
    assert found["loss"] - without["loss"] == pytest.approx(expected, abs=1e-9)
    errors = [
        [(goal - value) / 11 for goal, value in zip(goals, given["values_new"], strict=True)]
        for goals, given in zip(PPO["gamma1.0_lam0.95"]["returns"], flat(FIXTURE["groups"]), strict=True)
    ]
    if name == "clipped":
        errors[0][1] = 0.0  # 0.4 to 0.7: held at 0.6, where the loss is larger, and flat
    assert same(column(found, "values_coefficients"), errors)
    assert all("values_coefficients" not in tokens for group in explain("grpo")["groups"] for tokens in group)


def test_penalties_in_the_reward(explain: Explain) -> None:
    rloo = explain("rloo", *BETA)
    assert same(column(rloo, "advantages"), per_token(PPO["rloo_with_kl_in_reward"]["advantages"]))
    plain = explain("REINFORCE++", *BETA, "--algorithm.whitening.unit", "none")
    assert same(column(plain, "advantages"), PPO["reinforcepp"]["return_to_go"])
    white = explain("reinforce_pp", *BETA, "--algorithm.whitening.epsilon", "0")
    assert same(column(white, "advantages"), PPO["reinforcepp"]["token_whitened_ddof1_eps0"])


def test_step_scores_as_token_rewards(explain: Explain) -> None:
    """Reward to go without a reward of the whole: the steps' own scores."""
    given = case()
    for member in flat(given["groups"]):
        del member["reward"]
    found = explain("reinforce_plus_plus", *NO_KL, "--algorithm.whitening.unit", "none", given=given)
    assert same(column(found, "advantages")[:3], [[1.4, 0.8], [-0.1], [0.2, 0.2, 0.0]])


@pytest.mark.parametrize(
    ("name", "method"), [("UFKL", "rpg_ufkl"), ("URKL", "rpg_urkl"), ("FKL", "rpg_fkl"), ("RKL", "rpg_rkl")]
)
def test_regularised_policy_gradients(explain: Explain, name: str, method: str) -> None:
    given = EXAMPLE["rpg"]["inputs"]
    samples = [
        {"reward": reward, "logprobs": [new], "old_logprobs": [old]}
        for reward, new, old in zip(given["reward"], given["logp"], given["old"], strict=True)
    ]
    options = ["--algorithm.advantage.baseline", "none", "--algorithm.objective.coefficient", str(given["beta"])]
    found = explain(method, *options, given={"groups": [samples]})
    assert found["loss"] == pytest.approx(EXAMPLE["rpg"][name]["loss"], abs=1e-9)
    expected = [[-value] for value in EXAMPLE["rpg"][name]["dloss_dlogp"]]
    assert same(column(found, "coefficients"), expected)
    assert same(column(found, "ratios"), [[value] for value in EXAMPLE["rpg"]["w"]])


@pytest.mark.parametrize(
    ("method", "name"), [("dpo", "dpo"), ("online_dpo", "dpo"), ("dpo_normalised", "dpo_length_normalised")]
)
def test_preference_pairs(explain: Explain, method: str, name: str) -> None:
    pair = [response(FIXTURE["groups"][g][r]) for g, r in (FIXTURE["dpo"]["chosen"], FIXTURE["dpo"]["rejected"])]
    found, expected = explain(method, given={"groups": [pair]}), EXAMPLE["preference"][name]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-9)
    if name == "dpo":
        pushes = [-expected["dloss_d_sumlogp_chosen"]] * 2, [-expected["dloss_d_sumlogp_rejected"]] * 3
        assert same(column(found, "coefficients"), pushes)


def test_a_truncated_completion(explain: Explain) -> None:
    given, masked = case(), CORE["mask_one_response"]
    given["groups"][0][masked["masked_index"]]["truncated"] = True
    mask = (*NO_KL, "--algorithm.truncated", "mask")
    found = explain("grpo", *mask, given=given)
    assert found["loss"] == pytest.approx(masked["seq_mean_denominator_keeps_B"], abs=1e-9)
    assert column(found, "weights")[2] == column(found, "coefficients")[2] == [0.0, 0.0, 0.0]
    found = explain("dapo", "--algorithm.objective.high", "0.2", given=given)
    assert found["loss"] == pytest.approx(masked["token_mean"], abs=1e-9)


def test_an_off_policy_sequence_mask(explain: Explain) -> None:
    """With δ 0.1 the second completion alone is left out; the penalty still pushes it."""
    quiet = explain("deepseek_v3_2", *NO_KL, "--algorithm.correction.delta", "0.1")
    kept = [any(row) for row in column(quiet, "coefficients")]
    plain = [any(row) for row in column(explain("deepseek_v3_2", *NO_KL), "coefficients")]
    assert [a and b for a, b in zip(plain, CORE["opsm"]["mask"]["0.1"], strict=True)] == kept
    assert any(column(explain("deepseek_v3_2", "--algorithm.correction.delta", "0.1"), "coefficients")[1])


def test_by_hand(explain: Explain) -> None:
    """MaxRL: one right of four, so advantages are 3 and -1, and B is 4. The teacher's gap is log-probabilities' own."""
    group = [{"reward": float(i == 0), "logprobs": [-1.0, -2.0]} for i in range(4)]
    assert column(explain("maxrl", given={"groups": [group]}), "coefficients") == [[0.75, 0.75], *[[-0.25, -0.25]] * 3]
    taught = {"logprobs": [-1.0, -2.0], "old_logprobs": [-1.0, -2.0], "reference_logprobs": [-0.5, -2.25]}
    assert column(explain("on-policy distillation", given={"groups": [[taught]]}), "coefficients") == [[0.25, -0.125]]


def test_not_scored_and_masked(explain: Explain) -> None:
    """What has no reward takes no part in the statistics; what the policy did not sample has no number but 0."""
    given = case()
    given["groups"][1][2]["reward"] = None
    given["groups"][0][2] |= {"mask": [True, False, True], "step_rewards": [[2, 0.5]]}
    found = explain("grpo", *NO_KL, given=given)
    assert column(found, "advantages")[5] == [0.0]
    assert column(found, "advantages")[3][0] == pytest.approx(-(0.5**0.5))
    assert [row[1] for row in (column(found, name)[2] for name in ("coefficients", "weights", "ratios", "kl"))] == [
        0.0
    ] * 4
    assert column(found, "weights")[2] == [1 / 12, 0.0, 1 / 12]


def test_against_on_a_case(explain: Explain) -> None:
    found = explain("grpo", "--against", "grpo", "--against.algorithm.kl.coefficient", "0")
    assert found["loss"] == pytest.approx(CORE["loss"]["seq_mean_token_mean"]["surrogate_minus_beta_k3"], abs=1e-9)
    assert found["against"]["loss"] == pytest.approx(CORE["loss"]["seq_mean_token_mean"]["surrogate_only"], abs=1e-9)


def test_as_a_process(tmp_path: Path) -> None:
    """Nothing but JSON on standard output, in full precision."""
    (tmp_path / "case.json").write_text(json.dumps(case()))
    words = ["explain", "GRPO", "--case", "case.json", "--json"]
    done = warm.run(["-m", "groupwise.cli", *words], cwd=tmp_path, check=True)
    found = json.loads(done.stdout)
    assert list(found) == ["objective", "loss", "groups"]
    assert set(found["groups"][0][0]) == {"advantages", "ratios", "clipped", "kl", "weights", "coefficients"}
    assert same(column(found, "coefficients"), negative(CORE["dloss_dlogp"]["grpo_seq_mean_k3"]))
    assert not done.stderr


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_method_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    said = capsys.readouterr()
    for part in ("J = ", "GC = ", "data source", "A worked example", "a lone right answer", "a lone wrong answer"):
        assert part in said.out
    assert ("a long answer" in said.out, "a truncated answer" in said.out) == (True, True)
    assert "1. " in said.out
    assert not said.err
    assert max(map(len, said.out.splitlines())) <= 100


@pytest.mark.parametrize("name", ["grpo", "grpo_process", "ppo", "dpo", "sft", "rft", "remax", "reward_model", "gspo"])
def test_a_method_of_every_kind_of_data_says_its_numbers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON; what they are of every method, tests/explain asks."""
    assert main(["explain", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]


def test_the_words_follow_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "grpo", "--algorithm.advantage.scale", "none", "--algorithm.truncated", "mask"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "advantage.scale: none (the recipe: group)" in said
    assert "A_i = r_i - mean(r)" in said
    assert "among three wrong ones: advantage +0.75; each of its 4 tokens is pushed up by 0.0469, 0.188 in all" in said
    assert "if right, left alone (had it ended: pushed up" in said


def test_a_terminal_of_any_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["explain", "ppo", "--against", "reinforce_plus_plus_baseline"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "cosine of the two gradients" in said
    assert "\x1b" not in said


def test_a_case_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    (tmp_path / "case.json").write_text(json.dumps(case()))
    assert main(["explain", "grpo", "--case", str(tmp_path / "case.json")]) == 0
    said = capsys.readouterr().out
    assert "6 responses, 11 tokens" in said
    assert "J = -0.0150568" in said
    assert "+0.0874" in said
    assert said.count("held") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grpoo"], "perhaps you meant grpo"),
        (["grpo", "--learning_rate", "1"], "--learning_rate has no say in what a method does to a token"),
        (["grpo", "--cas", "x"], "unknown option --cas: perhaps you meant --case"),
        (["grpo", "--algorithm.objective.hi", "1"], "perhaps you meant --algorithm.objective.high"),
        (["grpo", "--algorithm.objective.high", "much"], "--algorithm.objective.high"),
        (["grpo", "--against.algorithm.kl.coefficient", "0"], "goes with --against OTHER"),
        (["grpo", "--step", "3"], "--step goes with --run DIR"),
        (["grpo", "--case", "a", "--run", "b"], "expected one of them"),
        (["grpo", "--case", "no/such.json"], "no/such.json: no such file"),
        (["grpo", "--run", "no/such"], "no ledger there"),
        (["--json", "grpo"], "a method comes first"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("grpo", "old_logprobs"),
        ("grpo", "reference_logprobs"),
        ("grpo", "reward"),
        ("ppo", "values"),
        ("grpo_process", "step_rewards"),
        ("deepseek_v3_2", "behavior_logprobs"),
        ("dpo", "reference_logprobs"),
    ],
)
def test_what_is_missing_has_a_name(
    method: str, missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = case()
    if method == "dpo":
        given["groups"] = [group[:2] for group in given["groups"]]
    del given["groups"][0][1][missing]
    (tmp_path / "case.json").write_text(json.dumps(given))
    assert main(["explain", method, "--case", str(tmp_path / "case.json")]) == 2
    said = capsys.readouterr().err
    assert f"case.json: group 0, response 1 has no {missing}, which {method} needs" in said
    assert len(said.splitlines()) == 1


def test_what_is_not_needed_may_be_missing(explain: Explain) -> None:
    keep = {"reward", "logprobs", "old_logprobs"}
    groups = [[{k: v for k, v in member.items() if k in keep} for member in group] for group in case()["groups"]]
    assert explain("dapo", given={"groups": groups}) == explain("dapo")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--help"]) == 0
    said = capsys.readouterr().out
    for part in ("--case", "--against", "--run", "step_rewards", "greedy_rewards", "examples:"):
        assert part in said


def test_process_supervision_without_step_scores_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of completions with one score each it is outcome supervision under another name."""
    given = case()
    for row in flat(given["groups"]):
        row["step_rewards"] = [[len(row["logprobs"]) - 1, row["reward"]]]
    (tmp_path / "case.json").write_text(json.dumps(given))
    assert main(["explain", "grpo_process", "--case", str(tmp_path / "case.json")]) == 0
    assert "no completion here has step scores" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "case.json").write_text(json.dumps(case()))
    assert main(["explain", "grpo_process", "--case", str(tmp_path / "case.json")]) == 0
    assert "has step scores" not in " ".join(capsys.readouterr().out.split())
