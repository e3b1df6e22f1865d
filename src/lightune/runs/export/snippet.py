"""The lines of Python that load what was exported, as its model card shows them: nothing of this package is needed."""

from typing import Any

from lightune.common.special_tokens import end_token_id
from lightune.tasks import Task

AUTO_CLASSES = {
    "text_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "translation": "AutoModelForSeq2SeqLM",
    "summarization": "AutoModelForSeq2SeqLM",
    "dialogue": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
}
"""How transformers loads each task's model."""

LABELS = {
    "single_label_classification": "print([config.id2label[best] for best in logits.argmax(-1).tolist()])",
    "multi_label_classification": (
        "for row in (logits >= 0).tolist():\n"
        "    print([config.id2label[index] for index, has_it in enumerate(row) if has_it])"
    ),
    "regression": "print(logits.squeeze(-1).tolist())",
}
"""By ``problem_type``; these lines are the same for PyTorch and for NumPy."""

READ_OFF = {
    "token_classification": (
        'tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])\n'
        "tags = [config.id2label[best] for best in logits[0].argmax(-1).tolist()]\n"
        "print(list(zip(tokens, tags)))  # the first token of a word speaks for it"
    ),
    "question_answering": (
        "first, last = int(start_logits.argmax()), int(end_logits.argmax())\n"
        'print(tokenizer.decode(inputs["input_ids"][0][first : last + 1]))'
    ),
    "masked_lm": (
        'best = logits[inputs["input_ids"] == tokenizer.mask_token_id].argmax(-1)\n'
        "print(tokenizer.decode(best))"
    ),
    "translation": "print(tokenizer.batch_decode(written, skip_special_tokens=True))",
    "summarization": "print(tokenizer.batch_decode(written, skip_special_tokens=True))",
    "dialogue": 'print(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
}


def snippet(
    task: Task, preprocessor: Any, *, task_name: str, onnx: bool = False, adapter_of: str | None = None
) -> str | None:
    """Return a script that loads the folder and uses the model once; None for a task of somebody's own.

    Args:
        task: with its model.
        preprocessor: of the task.
        task_name: as the configuration calls it.
        onnx: whether onnxruntime runs the model, in place of PyTorch.
        adapter_of: the pretrained model that an adapter alone stands on.
    """
    if task_name not in AUTO_CLASSES:
        return None
    inputs = f"inputs = {_inputs(preprocessor, task_name=task_name, tensors='np' if onnx else 'pt')}"
    answering = task_name == "question_answering"
    logits = "start_logits, end_logits" if answering else "logits"
    read_off = (
        LABELS[task.model.config.problem_type] if task_name == "text_classification" else READ_OFF[task_name]
    )
    if onnx:
        return "\n".join(
            [
                "import onnxruntime",
                "from transformers import AutoConfig, AutoTokenizer",
                "",
                'folder = "."  # this folder',
                "tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)",
                'session = onnxruntime.InferenceSession(f"{folder}/model.onnx")',
                inputs,
                "given = {one.name: inputs[one.name] for one in session.get_inputs()}",
                f"{logits if answering else '(logits,)'} = session.run(None, given)",
                read_off,
            ]
        )
    auto_class = AUTO_CLASSES[task_name]
    base = f'"{adapter_of}"{_head(task, task_name=task_name)}' if adapter_of is not None else "folder"
    outputs = (
        ["written = model.generate(**inputs)"]
        if "written" in read_off
        else ["outputs = model(**inputs)", *(f"{name} = outputs.{name}" for name in logits.split(", "))]
    )
    return "\n".join(
        [
            "import torch",
            *(["from peft import PeftModel"] if adapter_of is not None else []),
            f"from transformers import {auto_class}, AutoTokenizer",
            "",
            'folder = "."  # this folder, or its name on the Hub',
            "tokenizer = AutoTokenizer.from_pretrained(folder)",
            f"model = {auto_class}.from_pretrained({base})",
            *(["model = PeftModel.from_pretrained(model, folder)"] if adapter_of is not None else []),
            "config = model.config",
            inputs,
            "with torch.no_grad():",
            *(f"    {line}" for line in outputs),
            read_off,
        ]
    )


def _inputs(preprocessor: Any, *, task_name: str, tensors: str) -> str:
    """Return the call that makes what the model reads, of a text as the task has them."""
    tokenizer, cut = preprocessor.tokenizer, f"truncation=True, max_length={preprocessor.max_length}"
    end = f'padding=True, return_tensors="{tensors}")'
    if task_name == "question_answering":
        return f'tokenizer("Who came?", "Ann came home.", {cut.replace("True", repr("only_second"))}, {end}'.replace(
            "'", '"'
        )
    if task_name == "masked_lm":
        return f'tokenizer([f"A {{tokenizer.mask_token}} text."], {cut}, {end}'
    if task_name in ("translation", "summarization"):
        return f"tokenizer([{preprocessor.source_prefix + 'A text.'!r}], {cut}, return_token_type_ids=False, {end}"
    if task_name != "dialogue":
        pair = ', ["The text beside it."]' if len(preprocessor.input_columns) == 2 else ""
        return f'tokenizer(["A text."]{pair}, {cut}, {end}'
    if tokenizer.chat_template is not None:
        message = '[{"role": "user", "content": "How are you?"}]'
        return f"tokenizer.apply_chat_template({message}, add_generation_prompt=True, return_dict=True, {end.removeprefix('padding=True, ')}"
    first, after = (tokenizer.decode(ids) for ids in (preprocessor.prompt([]), [end_token_id(tokenizer)]))
    text = f"{first}How are you?{after}"
    return f"tokenizer([{text!r}], add_special_tokens=False, return_token_type_ids=False, {end}"


def _head(task: Task, *, task_name: str) -> str:
    """Return what the pretrained model must be told for an adapter's head to fit."""
    config = task.model.config
    told = {"pad_token_id": config.pad_token_id}
    if task_name in ("text_classification", "token_classification"):
        told["id2label"] = dict(config.id2label)
    if getattr(config, "is_decoder", False):
        told["is_decoder"] = True
    return "".join(f", {name}={value!r}" for name, value in told.items())
