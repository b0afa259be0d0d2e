"""Linear models, support vector machines and scalers of ai.onnx.ml, against ONNX Runtime's kernels."""

import numpy as np
import pytest

from .one_node import case, check, fed, weight, x

f = np.float32
LINEAR = {"coefficients": weight(12).tolist(), "intercepts": weight(3).tolist()}
ONE = {"coefficients": weight(4).tolist(), "intercepts": [0.3]}
CLASSIFIER = {"outputs": (..., f), "classlabels_ints": [3, 5, 9]}
MACHINE = {"coefficients": weight(12).tolist(), "support_vectors": weight(24, seed=2).tolist(), "vectors_per_class": [1, 3, 2], "rho": [0.1, -0.2, 0.3]}
PAIR = {"coefficients": weight(6).tolist(), "support_vectors": weight(24, seed=2).tolist(), "vectors_per_class": [4, 2], "rho": [0.1]}
REGRESSOR = {"coefficients": weight(6).tolist(), "support_vectors": weight(24, seed=2).tolist(), "n_supports": 6, "rho": [0.1]}
KERNELS = {"LINEAR": [0.7, 0.2, 2.0], "POLY": [0.7, 0.2, 3.0], "RBF": [0.7, 0.2, 3.0], "SIGMOID": [0.7, 0.2, 3.0]}
TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")


def model(op_type, *inputs, outputs=(f,), **attributes):
    return case(op_type, *inputs, outputs=outputs, domain="ai.onnx.ml", **attributes)


CASES = {
    "scaler": model("Scaler", x(3, 4), offset=weight(4).tolist(), scale=[1.0, 2.0, 0.5, -1.0], symbolic=True),
    "scaler one": model("Scaler", x(3, 4), offset=[0.5], scale=[2.0]),
    "scaler integers": model("Scaler", fed([[1, 2], [3, 4]], np.int64), offset=[0.5], scale=[2.0]),
    "normalizer max": model("Normalizer", x(3, 4, low=0.1), norm="MAX"),
    "normalizer max signs": model("Normalizer", x(3, 4), norm="MAX"),
    "normalizer max zeros": model("Normalizer", fed([[0, -1], [0, 0], [-2, -4]], f), norm="MAX"),
    "normalizer l1": model("Normalizer", x(3, 4), norm="L1", symbolic=True),
    "normalizer l2": model("Normalizer", x(3, 4), norm="L2"),
    "normalizer zeros": model("Normalizer", fed(np.zeros((2, 3)), f), norm="L2"),
    "imputer": model("Imputer", fed([[1, np.nan], [np.nan, 4]], f), imputed_value_floats=[7.0, 8.0], replaced_value_float=float("nan")),
    "imputer number": model("Imputer", x(3, 4), imputed_value_floats=[7.0], replaced_value_float=-1.0),
    "imputer integers": model("Imputer", fed([[1, 2], [3, 4]], np.int64), imputed_value_int64s=[7, 8], replaced_value_int64=2, outputs=(np.int64,)),
    "vectorizer": model("FeatureVectorizer", x(3, 2), x(3, 1), inputdimensions=[2, 1]),
    "extractor": model("ArrayFeatureExtractor", x(3, 4), fed([[2, 0]], np.int64)),
    "regressor": model("LinearRegressor", x(3, 4), targets=3, **LINEAR),
    "regressor one": model("LinearRegressor", x(3, 4), coefficients=ONE["coefficients"], symbolic=True),
    "softmax of zeros": model(
        "LinearClassifier",
        fed([[1.0, -2.0]], f),
        coefficients=[0.0, 0.0, 3.0, 0.0, 0.0, 4.0],
        intercepts=[0.0] * 3,
        post_transform="SOFTMAX_ZERO",
        **CLASSIFIER,
    ),
    "probit": model("LinearClassifier", x(3, 4, low=0, high=0.1), coefficients=[0.9] * 12, intercepts=[0.2, 0.4, 0.5], post_transform="PROBIT", **CLASSIFIER),
    "classifier integers": model("LinearClassifier", fed([[1, 2, 0, 1]], np.int64), **LINEAR, **CLASSIFIER),
    "svm liblinear": model(
        "SVMClassifier", x(3, 4), coefficients=LINEAR["coefficients"], rho=[0.2], kernel_type="LINEAR", kernel_params=KERNELS["LINEAR"], **CLASSIFIER
    ),
    "svr linear": model("SVMRegressor", x(3, 4), coefficients=ONE["coefficients"], rho=[0.2], kernel_type="LINEAR", kernel_params=KERNELS["LINEAR"]),
    "one class": model("SVMRegressor", fed(weight(9, 4), f), kernel_type="RBF", kernel_params=KERNELS["RBF"], one_class=1, **REGRESSOR),
    **{f"linear {t}": model("LinearClassifier", x(3, 4), post_transform=t, **LINEAR, **CLASSIFIER) for t in TRANSFORMS},
    **{f"linear two {t}": model("LinearClassifier", x(3, 4), post_transform=t, outputs=(..., f), classlabels_strings=["a", "b"], **ONE) for t in TRANSFORMS},
    **{f"svr {k}": model("SVMRegressor", x(3, 4), kernel_type=k, kernel_params=p, **REGRESSOR) for k, p in KERNELS.items()},
    **{f"svc {k}": model("SVMClassifier", x(3, 4), kernel_type=k, kernel_params=p, **MACHINE, **CLASSIFIER) for k, p in KERNELS.items()},
    **{
        f"svc two {t}": model(
            "SVMClassifier", x(3, 4), kernel_type="RBF", kernel_params=KERNELS["RBF"], post_transform=t, outputs=(..., f), classlabels_ints=[0, 1], **PAIR
        )
        for t in TRANSFORMS
    },
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes(name):
    check(CASES[name])
