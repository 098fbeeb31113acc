from pipeline.report.summary import FIGURES, summary

READ = {
    "evaluation_summary.json": {
        "l0": 11.217981,
        "fve_base": 0.925326,
        "fve_it": 0.911411,
        "fve_difference": 0.699326,
        "delta_ce_it": 0.37,
    },
    "latent_scaling.json": {"base_only": 0, "it_only": 3, "shared": 967},
    "causal_summary.json": {"removed_full": 0.724051},
    "changes_summary.json": {"n_listed": 12},
}
NOT_HERE = {"applicable": False, "reason": "rows came from no models"}


def test_the_summary_holds_each_figure_rounded_and_nothing_else() -> None:
    assert summary(READ) == {
        "l0": 11.218,
        "fve_base": 0.9253,
        "fve_it": 0.9114,
        "fve_diff": 0.6993,
        "base_only": 0,
        "it_only": 3,
        "kl_removed": 0.7241,
        "changes": 12,
    }


def test_what_does_not_apply_or_is_undefined_is_left_out_of_the_summary() -> None:
    undefined = READ["evaluation_summary.json"] | {"fve_difference": None}
    read = READ | {"causal_summary.json": NOT_HERE, "changes_summary.json": NOT_HERE}
    left_out = FIGURES.keys() - summary(read | {"evaluation_summary.json": undefined}).keys()
    assert left_out == {"fve_diff", "kl_removed", "changes"}
