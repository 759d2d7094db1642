"""Package metadata. Tool settings are in pyproject.toml, tested versions in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "laclrec_tf/__init__.py").read_text(), re.MULTILINE)

setup(
    name="laclrec-tf",
    version=VERSION.group(1),
    description="Sequential recommendation with a learned augmenter (LACLRec) in Keras and TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["laclrec_tf", "laclrec_tf.*"]),
    package_data={"laclrec_tf": ["py.typed", "**/*.pyi", "explorer/page.css", "report/templates/*.html"]},
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "filelock>=4.3",
        "jinja2>=3.1",
        "keras>=3.15,<4",
        "lazy-loader>=0.4",
        "markupsafe>=2.1",
        "tensorflow-recommenders",
        "tensorflow-serving-api",
        "grpcio",
        "grpcio-health-checking",
        "grpcio-reflection",
        "matplotlib",
        "narwhals>=2.0",
        "numpy",
        "pillow",
        "polars",
        "prometheus-client",
        "pydantic>=2",
        "python-json-logger",
        "pyyaml",
        "rich",
        "scipy",
        "starlette",
        "tensorboard",
        "typer",
        "uvicorn",
        "wrapt>=1.14",
    ],
    extras_require={
        "beam": ["apache-beam", "pyarrow"],
        "test": [
            "httpx",
            "hypothesis",
            "ipykernel>=6",
            "mypy",
            "nbmake>=1.5",
            "pandas>=2.2",
            "playwright>=1.40",
            "pyarrow",
            "pytest",
            "pytest-xdist",
            "ruff",
            "trustme",
            "types-PyYAML",
        ],
        "notebooks": ["jupyterlab"],
        "vertex": ["google-cloud-aiplatform", "google-cloud-storage"],
        "kubeflow": ["kfp"],
        "explore": ["nicegui>=3.11"],
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.29"],
    },
    entry_points={"console_scripts": ["laclrec-tf = laclrec_tf.cli.main:main"]},
)
