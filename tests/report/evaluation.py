"""What ``simflow evaluate`` may have written, shortened."""

EVALUATION = {
    "run": {"step": 4},
    "samples": {"count": 300, "seeds": "0-299", "guidance": 2.0},
    "reference": {"count": 600, "source": "some images"},
    "made_by": {"date": "2026-01-02T03:04:05+00:00"},
    "generation": [
        {
            "extractor": {"network": "A network"},
            "figures": [
                {
                    "name": "FD-Test",
                    "value": 123.456,
                    "better": "lower",
                    "standard_error": 2.3,
                    "floor": 53.3,
                    "detail": {"rank_deficient": True},
                },
                {"name": "recall", "value": 0.51, "better": "higher", "standard_error": None, "floor": None},
            ],
        }
    ],
    "notes": ["classes are not as frequent"],
    "classes": {"accuracy": 0.84, "accuracy_of_held_out": 0.83, "diversity": 0.8, "by_class": {"bag": 0.9}},
    "neighbours": {"copying_share": 0.02},
    "likelihood": {
        "bound": "ELBO, Gaussian decoder",
        "held_out": {"bits_per_dimension": 6.5, "standard_error": 0.02},
        "foreign": {"other": {"auroc": 0.9}},
        "histograms": {"edges": [6.0, 6.5, 7.0], "counts": {"held out": [3, 1], "other": [0, 4]}},
    },
    "files": {
        "neighbours": "results-neighbours.png",
        "real": "results-real.png",
        "samples": "../../../etc/passwd",
    },
    "left_out": ["FID: there are no weights"],
}
