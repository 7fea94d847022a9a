"""Recipes and densities -> tomograms with their truth: sample, microscope, reconstruction."""

from cryofind.simulate.body import Body
from cryofind.simulate.cast import Cast
from cryofind.simulate.densities import body_from_atoms, body_from_map, body_names, load_body
from cryofind.simulate.distractors import generic_bodies
from cryofind.simulate.recipe import Range, SimulationRecipe, SpeciesRecipe
from cryofind.simulate.recipe_files import find_recipe, load_recipe, recipe_names
from cryofind.simulate.run import SIMULATOR_VERSION, SimulatedRun, simulate_run, simulate_volumes
from cryofind.simulate.sample import MEMBRANE, Sample, make_sample

__all__ = [
    "MEMBRANE",
    "SIMULATOR_VERSION",
    "Body",
    "Cast",
    "Range",
    "Sample",
    "SimulatedRun",
    "SimulationRecipe",
    "SpeciesRecipe",
    "body_from_atoms",
    "body_from_map",
    "body_names",
    "find_recipe",
    "generic_bodies",
    "load_body",
    "load_recipe",
    "make_sample",
    "recipe_names",
    "simulate_run",
    "simulate_volumes",
]
