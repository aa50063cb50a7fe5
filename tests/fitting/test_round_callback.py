"""Each epoch has draws of its own, and a step is left alone."""

from lightning.pytorch.profilers import PassThroughProfiler

from tests.helpers.projects import Net, loop_in, make_trainer


def test_the_order_of_batches_is_another_in_each_round_and_seed(tmp_path):
    orders = {}
    for seed in (0, 1):

        class Order(Net):
            def training_step(self, batch, batch_idx, key=seed):
                orders.setdefault((key, self.current_epoch), []).extend(batch[0][:, 0].tolist())
                return super().training_step(batch, batch_idx)

        loop = loop_in(tmp_path / str(seed), model=Order(), seed=seed, initial=list(range(8)), rounds=0)
        loop.run(make_trainer(tmp_path))
    assert len({tuple(o) for o in orders.values()}) == len(orders) == 4


def test_lightning_calls_it_once_a_step(tmp_path):
    """Each call is a context of the profiler, which a step of a tiny model shows."""

    class Actions(PassThroughProfiler):
        def __init__(self):
            super().__init__()
            self.seen = []

        def start(self, action_name):
            self.seen.append(action_name)

    profiler = Actions()
    loop = loop_in(tmp_path, initial=list(range(8)), rounds=0, evaluate=None)
    loop.run(make_trainer(tmp_path, profiler=profiler))
    in_a_step = ("train_batch", "backward", "optimizer_step", "zero_grad")
    calls = {
        name: sum(any(word in a for word in in_a_step) for a in profiler.seen if a.startswith(f"[Callback]{name}"))
        for name in ("RoundCallback", "Entropy")
    }
    assert loop.round_step > 0
    assert calls == {"RoundCallback": loop.round_step, "Entropy": 6 * loop.round_step}
