"""Logits of a model with adapters that ropescope trained, as PEFT computes them, and adapters that PEFT makes.

usage: train_lora_peft.py logits MODEL ADAPTER OUT.safetensors     logits of ids 1..24
       train_lora_peft.py make MODEL ADAPTER                       random adapters of q_proj and o_proj
       train_lora_peft.py llava MODEL ADAPTER                      names of LLaVA-NeXT's adapters and projector

Exit code 77, with the reason, where peft, transformers or torch are missing.
"""
import sys

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

torch.manual_seed(1)
ids = torch.arange(1, 25)[None]
what, model, adapter = sys.argv[1:4]

if what == "logits":
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(base, adapter).eval()
        after = adapted(ids).logits
    assert (after - before).abs().max() > 1e-3, "the adapters do nothing"
    # Every tensor of the file was taken, none made anew.
    stored = load_file(f"{adapter}/adapter_model.safetensors")
    own = {name.replace(".default", ""): tensor for name, tensor in adapted.state_dict().items() if "lora_" in name}
    assert own.keys() == stored.keys(), own.keys() ^ stored.keys()
    assert all(torch.equal(own[name], stored[name]) for name in own)
    save_file({"logits": after}, sys.argv[4])
elif what == "make":
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    made = get_peft_model(base, LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "o_proj"], use_rslora=True,
                                           init_lora_weights=False))
    made.save_pretrained(adapter)
elif what == "llava":
    base = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    adapted = PeftModel.from_pretrained(base, adapter).eval()
    stored = load_file(f"{adapter}/adapter_model.safetensors")
    own = {name.replace(".modules_to_save.default", "").replace(".default", ""): tensor
           for name, tensor in adapted.state_dict().items() if "lora_" in name or ".modules_to_save." in name}
    assert own.keys() == stored.keys(), own.keys() ^ stored.keys()
    assert all(torch.equal(own[name], stored[name]) for name in own)
    assert not any("vision_tower" in name for name in own)
print("equal")
