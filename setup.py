"""The packages of a wheel: the three, and configs/ within experiments, where compose finds it."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("reformer_pl", "experiments", "ablations")
CONFIGS = "experiments.configs"

setup(
    packages=[
        *find_namespace_packages(include=[f"{folder}*" for folder in FOLDERS]),
        CONFIGS,
        *(f"{CONFIGS}.{group}" for group in find_namespace_packages("configs")),
    ],
    package_dir={CONFIGS: "configs"},
)
