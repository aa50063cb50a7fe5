"""A small transformer that tells sentences about weather from sentences about food."""

import random

import lightning as L
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

WEATHER = ["rain", "sun", "wind", "snow", "cloud", "storm", "frost", "heat", "mist", "hail"]
FOOD = ["bread", "soup", "rice", "cheese", "apple", "stew", "salad", "cake", "fish", "pear"]
FILLER = ["the", "a", "some", "we", "had", "saw", "there", "was", "very", "much", "today", "again", "often", "never"]
VOCABULARY = {word: i + 1 for i, word in enumerate(WEATHER + FOOD + FILLER)}


class Sentences(Dataset):
    def __init__(self, n, seed):
        rng = random.Random(seed)
        self.rows = []
        for _ in range(n):
            label = rng.randrange(2)
            words = rng.choices(FILLER, k=rng.randint(2, 9)) + rng.choices([WEATHER, FOOD][label], k=rng.randint(1, 3))
            rng.shuffle(words)
            self.rows.append({"text": " ".join(words), "label": label})

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        return {"input_ids": [VOCABULARY[word] for word in row["text"].split()], "labels": row["label"]}


def collate(samples):
    ids = [torch.tensor(sample["input_ids"]) for sample in samples]
    input_ids = pad_sequence(ids, batch_first=True)
    labels = torch.tensor([sample["labels"] for sample in samples])
    return {"input_ids": input_ids, "attention_mask": (input_ids > 0).long(), "labels": labels}


class SentencesData(L.LightningDataModule):
    def setup(self, stage=None):
        self.train, self.val = Sentences(120, seed=0), Sentences(40, seed=1)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True, collate_fn=collate)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=20, collate_fn=collate)


class Encoder(L.LightningModule):
    def __init__(self, vocab_size=len(VOCABULARY) + 1, width=32, heads=4, layers=2, lr=3e-3, warmup=0.2):
        super().__init__()
        self.save_hyperparameters()
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position = nn.Parameter(0.02 * torch.randn(1, 32, width))
        layer = nn.TransformerEncoderLayer(width, heads, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids, attention_mask):
        x = self.embedding(input_ids) + self.position[:, : input_ids.shape[1]]
        x = self.encoder(x, src_key_padding_mask=attention_mask == 0)
        weight = attention_mask.unsqueeze(-1).float()
        return {"logits": self.classifier((x * weight).sum(1) / weight.sum(1))}

    def setup(self, stage):
        if stage == "fit":
            batches = len(self.trainer.datamodule.train_dataloader())
            self.total_steps = batches * self.trainer.max_epochs

    def training_step(self, batch, batch_idx):
        out = self(batch["input_ids"], batch["attention_mask"])
        loss = nn.functional.cross_entropy(out["logits"], batch["labels"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        out = self(batch["input_ids"], batch["attention_mask"])
        self.log("val_acc", (out["logits"].argmax(-1) == batch["labels"]).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        warm = max(1, int(self.hparams.warmup * self.total_steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, max(0.0, (self.total_steps - step) / self.total_steps))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


if __name__ == "__main__":
    L.seed_everything(3)
    model, datamodule = Encoder(), SentencesData()
    trainer = L.Trainer(max_epochs=3, gradient_clip_val=1.0, logger=False)
    trainer.fit(model, datamodule)
    trainer.validate(model, datamodule)
