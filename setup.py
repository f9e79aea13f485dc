"""The packages of a wheel: the three, and configs/ within experiments, where compose finds it."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("reformer_pl", "experiments", "ablations")

setup(
    packages=[
        *find_namespace_packages(include=[f"{folder}*" for folder in FOLDERS]),
        "experiments.configs",
    ],
    package_dir={"experiments.configs": "configs"},
)
