"""What others are shown has no tokens and passwords, whatever they are called and wherever they stand."""

import pytest

from lightning_al.campaign.secrets import without_secrets


def test_secrets_are_left_out():
    settings = {
        "oracle": {"init_args": {"token": "abc", "api_key": "k", "url": "https://u:p@host/x", "tokens": 3}},
        "list": [{"password": "p"}, "s3://id:key@bucket"],
        "tokenizer": "bpe",
        "auth": None,
    }
    assert without_secrets(settings) == {
        "oracle": {
            "init_args": {
                "token": "(left out)",
                "api_key": "(left out)",
                "url": "https://(left out)@host/x",
                "tokens": 3,
            }
        },
        "list": [{"password": "(left out)"}, "s3://(left out)@bucket"],
        "tokenizer": "bpe",
        "auth": None,
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"headers": {"Authorization": "Basic abc"}},
        {"value": "Bearer abc"},
        {"headers": ["Authorization: Bearer abc", "X-Api-Key=abc"]},
        *({name: "abc"} for name in ("secret_key", "private_key", "passphrase", "pass", "Cookie", "clientSecret")),
        *({name: "abc"} for name in ("aws_secret_access_key", "WANDB_API_KEY", "x-api-key", "ssh_key")),
        {"auth": {"user": "abc", "key": "abc"}, "cookies": {"session": "abc"}, "credentials": ["abc"]},
        {"url": "https://me:p@abc@host/x"},
        {"url": "https://host/x?page=2&access_token=abc"},
        {"oracle": "LabelStudio(url='http://host', token='abc', project=3)"},
        {"words": ["run", "--token", "abc", "--api-key", "abc", "--verbose"]},
        {"command": "run --token abc --data x"},
        {"command": "run --password 'abc abc' --data x"},
        {"headers": [("Authorization", "abc"), ("Accept", "*/*")]},
        {"headers": [["token", "abc"]]},
        {"header": ["X-Api-Key", "abc"]},
        {"environment": [{"name": "WANDB_API_KEY", "value": "abc"}, {"name": "HOME", "value": "/x"}]},
        {"headers": ["Authorization: abc", "X-Api-Key: abc"]},
        {"body": '{"token": "abc abc", "page": 2}'},
        {"body": '{"token":"abc","page":2}'},
        {"hosts": ["me:abc@10.0.0.1:22", "me:abc@10host"]},
        {"said": ["Token 0123abc4567890", "Basic bWU6abc=dDEyMw=="]},
        *({name: ["abc"]} for name in ("api_keys", "access_tokens", "ssh_keys", "oracle.token", "db_pass")),
        {"storage": "me:abc@host/path"},
        {"storage": "me:p@abc@db.example.org:5432/x"},
        {"storage": "at (me:abc@host)"},
        {"nested": [[["--token", "abc"]], {"pairs": [["password", "abc"], ["user", "u"]]}]},
        {"key": "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"},
    ],
    ids=str,
)
def test_secrets_of_any_name_and_form_are_left_out(settings):
    assert "abc" not in str(without_secrets(settings))


def test_what_is_no_secret_stays():
    settings = {"tokens": 3, "key": "id", "passes": 2, "forward_pass": True, "about": "Basic augmentation, lr=0.1"}
    settings |= {"inputs": ["token", "mask"], "classes": ["Signature", "stamp"], "image": "x/y:tag@sha256:abcd"}
    settings |= {"mail": "me@x.org", "git": "git@host:x/y.git", "path": r"C:\x@y", "name": {"name": "a", "value": "b"}}
    settings |= {"words": ["--tokens", "3", "--key", "id", "-x"], "pairs": [["key", "a"], ["width", 3]], "none": []}
    settings |= {"said": "tokens: 3, target: token", "flags": "run --epochs 3 --token-count 4"}
    settings |= {"secretary": "s", "author": "a", "target_column": "token", "url": "https://host/x?page=2"}
    settings |= {"cls_token": "[CLS]", "pad_token": "<pad>", "low_pass": 30, "high_pass": 0.5, "band_pass": [1, 40]}
    settings |= {"about it": ["Token classification", "Basic U-Net"], "monitor": "val:recall@10"}
    assert without_secrets(settings) == settings


@pytest.mark.parametrize("part", ["w", "-", " \n", "a:,", "://", "x=", "'", "token "])
def test_long_texts_are_looked_through_once(part):
    text = part * (100_000 // len(part))  # where each place were a start of its own it would take minutes
    assert without_secrets({"text": text}) == {"text": text}
