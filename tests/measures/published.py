"""Digits that NannyML's documentation prints, each with the notebook it stands in. Data only.

All tables are of ``nannyml.load_synthetic_car_loan_dataset()``: 50,000 reference and 50,000 analysis rows, in time
order, cut into ten chunks of 5,000 rows each (``chunk_size=5000``, and the default of ten chunks, are the same here).
Chunks are numbered 0 to 9 from the start of their period. The documentation prints no drift table of the US-census
data set: its pages show estimated performance of it only.
"""

#: ``docs/example_notebooks/Tutorial - Drift - Multivariate.ipynb``: ``DataReconstructionDriftCalculator``.
MULTIVARIATE_COLUMNS = [
    "car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car", "size_of_downpayment", "driver_tenure",
]  # fmt: skip
NUMERIC_COLUMNS = ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"]
CATEGORICAL_COLUMNS = ["salary_range", "repaid_loan_on_prev_car", "size_of_downpayment"]

PCA_REFERENCE = [1.136408, 1.134478, 1.136076, 1.140114, 1.126078, 1.142018, 1.125146, 1.143206, 1.130954, 1.127026]
PCA_ANALYSIS = [1.141517, 1.130636, 1.138914, 1.145040, 1.137563, 1.249205, 1.243101, 1.258147, 1.228179, 1.259884]
#: Printed for every chunk: the release that made the table took it from the whole reference, later ones from the chunk.
PCA_SAMPLING_ERROR = 0.006996
PCA_LIMITS = (1.115281, 1.153019)

#: ``docs/example_notebooks/Tutorial - Drift - Multivariate - Domain Classifier.ipynb``: ``DomainClassifierCalculator``.
#: A reference chunk is told from the *other* reference rows, an analysis chunk from all of them.
#: NannyML 0.13.1 with LightGBM 4.5 itself prints other digits for the three chunks of ``DOMAIN_CLASSIFIER_MOVED``.
DOMAIN_CLASSIFIER_REFERENCE = [0.508085, 0.505428, 0.506587, 0.499824, 0.507135, 0.498486, 0.501805, 0.494281, 0.505302, 0.502734]
DOMAIN_CLASSIFIER_ANALYSIS = [0.502704, 0.496390, 0.490815, 0.493005, 0.503402, 0.913519, 0.913364, 0.916356, 0.913297, 0.916694]
DOMAIN_CLASSIFIER_MOVED = {("reference", 0): 0.507313, ("reference", 8): 0.504702, ("analysis", 8): 0.913047}

#: ``docs/example_notebooks/Tutorial - Working with results.ipynb``: ``UnivariateDriftCalculator`` with
#: ``continuous_methods=["kolmogorov_smirnov", "jensen_shannon"]``, ``categorical_methods=["chi2", "jensen_shannon"]``
#: and default chunks. Keys: column, method, period; ten chunks each. Kolmogorov-Smirnov is NannyML's own reading of
#: 10,000 equal-width bins, which lies up to 0.0003 below the exact statistic in these tables.
UNIVARIATE = {
    ("car_value", "jensen_shannon", "reference"): [
        0.029674, 0.023785, 0.026469, 0.021747, 0.024108, 0.027559, 0.026782, 0.031213, 0.027301, 0.029698],
    ("car_value", "jensen_shannon", "analysis"): [
        0.026193, 0.020178, 0.021018, 0.036355, 0.028712, 0.464759, 0.460057, 0.466777, 0.466199, 0.467827],
    ("car_value", "kolmogorov_smirnov", "reference"): [
        0.01030, 0.00732, 0.00802, 0.00850, 0.00892, 0.01456, 0.01284, 0.01348, 0.01572, 0.00924],
    ("car_value", "kolmogorov_smirnov", "analysis"): [
        0.01308, 0.01106, 0.01662, 0.01434, 0.01116, 0.43530, 0.43028, 0.43772, 0.43602, 0.43838],
    ("y_pred", "jensen_shannon", "reference"): [
        0.005490, 0.006340, 0.004877, 0.001750, 0.003687, 0.003790, 0.000289, 0.004707, 0.001139, 0.002668],
    ("y_pred", "jensen_shannon", "analysis"): [
        0.015238, 0.008891, 0.008041, 0.005660, 0.003178, 0.004197, 0.001988, 0.002328, 0.003620, 0.015408],
    ("y_pred_proba", "jensen_shannon", "reference"): [
        0.013355, 0.021129, 0.022370, 0.017829, 0.021662, 0.017256, 0.025322, 0.027507, 0.024322, 0.030395],
    ("y_pred_proba", "jensen_shannon", "analysis"): [
        0.028933, 0.022139, 0.031043, 0.022833, 0.023747, 0.225486, 0.208815, 0.224282, 0.205352, 0.215539],
    ("y_pred_proba", "kolmogorov_smirnov", "reference"): [
        0.00922, 0.01042, 0.00910, 0.00872, 0.00852, 0.01028, 0.01248, 0.00890, 0.00768, 0.00498],
    ("y_pred_proba", "kolmogorov_smirnov", "analysis"): [
        0.02530, 0.01230, 0.01642, 0.01058, 0.01408, 0.13070, 0.12730, 0.13110, 0.11970, 0.13752],
}  # fmt: skip

#: ``docs/example_notebooks/Tutorial - Drift - Univariate.ipynb``: the same calculator, column ``debt_to_income_ratio``,
#: analysis period.
UNIVARIATE_DEBT_TO_INCOME = {
    "kolmogorov_smirnov": [0.01576, 0.01268, 0.01734, 0.01280, 0.01918, 0.00824, 0.01058, 0.01002, 0.01068, 0.00680],
    "jensen_shannon": [0.031661, 0.030011, 0.031129, 0.029464, 0.030809, 0.028681, 0.043628, 0.029253, 0.030628, 0.028330],
}

#: ``docs/example_notebooks/Tutorial - Working with results.ipynb``, the same table in full width and six digits, for
#: those rows whose every column was read: (period, chunk) -> column -> method -> value.
UNIVARIATE_ROWS = {
    ("reference", 0): {
        "car_value": {"jensen_shannon": 0.0296736, "kolmogorov_smirnov": 0.0103},
        "debt_to_income_ratio": {"jensen_shannon": 0.0333679, "kolmogorov_smirnov": 0.01112},
        "driver_tenure": {"jensen_shannon": 0.0228713, "kolmogorov_smirnov": 0.00974},
        "loan_length": {"jensen_shannon": 0.0242899, "kolmogorov_smirnov": 0.00818},
        "repaid_loan_on_prev_car": {"chi2": 0.414606, "jensen_shannon": 0.00415143},
        "salary_range": {"chi2": 2.89878, "jensen_shannon": 0.010811},
        "size_of_downpayment": {"chi2": 4.00124, "jensen_shannon": 0.0125401},
        "y_pred": {"chi2": 0.733844, "jensen_shannon": 0.00549026},
        "y_pred_proba": {"jensen_shannon": 0.0133555, "kolmogorov_smirnov": 0.00922},
    },
    ("analysis", 0): {
        "car_value": {"jensen_shannon": 0.0261935, "kolmogorov_smirnov": 0.01308},
        "debt_to_income_ratio": {"jensen_shannon": 0.0316611, "kolmogorov_smirnov": 0.01576},
        "driver_tenure": {"jensen_shannon": 0.0309355, "kolmogorov_smirnov": 0.02114},
        "loan_length": {"jensen_shannon": 0.0244278, "kolmogorov_smirnov": 0.00884},
        "repaid_loan_on_prev_car": {"chi2": 1.70319, "jensen_shannon": 0.0083078},
        "salary_range": {"chi2": 1.03368, "jensen_shannon": 0.00639674},
        "size_of_downpayment": {"chi2": 1.6025, "jensen_shannon": 0.00796199},
        "y_pred": {"chi2": 5.78426, "jensen_shannon": 0.0152383},
        "y_pred_proba": {"jensen_shannon": 0.0289329, "kolmogorov_smirnov": 0.0253},
    },
    ("analysis", 1): {
        "car_value": {"jensen_shannon": 0.0201778, "kolmogorov_smirnov": 0.01106},
        "debt_to_income_ratio": {"jensen_shannon": 0.0300113, "kolmogorov_smirnov": 0.01268},
        "driver_tenure": {"jensen_shannon": 0.0383534, "kolmogorov_smirnov": 0.00994},
        "loan_length": {"jensen_shannon": 0.0258391, "kolmogorov_smirnov": 0.01418},
        "repaid_loan_on_prev_car": {"chi2": 0.242059, "jensen_shannon": 0.00319188},
        "salary_range": {"chi2": 5.76241, "jensen_shannon": 0.0153757},
        "size_of_downpayment": {"chi2": 5.71897, "jensen_shannon": 0.0150859},
        "y_pred": {"chi2": 1.94965, "jensen_shannon": 0.00889123},
        "y_pred_proba": {"jensen_shannon": 0.0221389, "kolmogorov_smirnov": 0.0123},
    },
    ("analysis", 6): {
        "car_value": {"jensen_shannon": 0.460057, "kolmogorov_smirnov": 0.43028},
        "debt_to_income_ratio": {"jensen_shannon": 0.0436276, "kolmogorov_smirnov": 0.01058},
        "driver_tenure": {"jensen_shannon": 0.0265918, "kolmogorov_smirnov": 0.00826},
        "loan_length": {"jensen_shannon": 0.231747, "kolmogorov_smirnov": 0.18032},
        "repaid_loan_on_prev_car": {"chi2": 1162.99, "jensen_shannon": 0.229333},
        "salary_range": {"chi2": 428.633, "jensen_shannon": 0.174226},
        "size_of_downpayment": {"chi2": 2.52181, "jensen_shannon": 0.0100123},
        "y_pred": {"chi2": 0.0904949, "jensen_shannon": 0.00198817},
        "y_pred_proba": {"jensen_shannon": 0.208815, "kolmogorov_smirnov": 0.1273},
    },
}

#: ``docs/example_notebooks/Tutorial - Drift - Univariate - Car Loan.ipynb``: the same calculator and column from
#: another release, whose Kolmogorov-Smirnov is neither the exact one nor that of 0.13.1 (off by up to 0.0013).
#: Jensen-Shannon agrees with every other table.
UNIVARIATE_OTHER_RELEASE = {
    ("kolmogorov_smirnov", "reference"): [0.0096, 0.0112, 0.0078, 0.0094, 0.0060, 0.0090, 0.0102, 0.0168, 0.0076, 0.0070],
    ("kolmogorov_smirnov", "analysis"): [0.0152, 0.0124, 0.0166, 0.0118, 0.0184, 0.0078, 0.0098, 0.0090, 0.0094, 0.0060],
    ("jensen_shannon", "reference"): [
        0.033368, 0.028066, 0.022597, 0.031587, 0.031050, 0.031648, 0.025801, 0.032510, 0.024897, 0.028474],
    ("jensen_shannon", "analysis"): [
        0.031661, 0.030011, 0.031129, 0.029464, 0.030809, 0.028681, 0.043628, 0.029253, 0.030628, 0.028330],
}  # fmt: skip
