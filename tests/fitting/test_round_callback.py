"""Each epoch has draws of its own."""

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
