"""The fixtures that the package brings for its users' own tests."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

USERS_TESTS = """
    import pytest
    from dir_redis import StorageBundle, open_storage

    @pytest.fixture(params=["memory", "fakeredis", "embedded"])
    def bundle(request):
        return request.getfixturevalue(f"dir_{request.param}_bundle")

    @pytest.mark.parametrize("turn", range(4))
    def test_a_bundle_is_fresh_each_time(bundle, turn):
        assert isinstance(bundle, StorageBundle)
        assert bundle.decision_audit.all_events_chronological() == []
        bundle.decision_audit.record("f", "E")
        assert len(bundle.decision_audit.all_events_chronological()) == 1

    def test_the_embedded_store_is_open_to_other_clients(dir_embedded_bundle):
        dir_embedded_bundle.context.set_session("f", "[1]")
        url, namespace = dir_embedded_bundle.url, dir_embedded_bundle.namespace
        with open_storage(url, namespace=namespace) as other:
            assert other.context.get_session("f") == "[1]"
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_test_gets_a_fresh_bundle_alone_and_under_xdist(
    pytester: pytest.Pytester, workers: str
) -> None:
    pytester.makepyfile(USERS_TESTS)

    result = pytester.runpytest_subprocess("-q", "-n", workers)

    result.assert_outcomes(passed=13)


def test_the_fixtures_are_listed_with_a_description(pytester: pytest.Pytester) -> None:
    printed = pytester.runpytest_subprocess("--fixtures", "-q").stdout.str()

    for name in ("dir_memory_bundle", "dir_fakeredis_bundle", "dir_embedded_bundle"):
        assert name in printed
