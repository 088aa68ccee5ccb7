from tlhub_moments.average_pool import AveragePool
from tlhub_moments.moments import Moments
from tlhub_moments.rings import Rings

from tlhub.testing import AdapterContract, BackboneContract, DatasetContract


class TestAveragePool(BackboneContract):
    component = AveragePool


class TestMoments(AdapterContract):
    component = Moments


class TestRings(DatasetContract):
    component = Rings
