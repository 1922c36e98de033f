#include "train/train_flags.h"

#include "inputs/model_folder.h"

namespace ropescope::app::train {

namespace {

void bind_data(Flags& flags, TrainFlags& fields) {
  flags.group("Model and data");
  flags.add("model", fields.model, "checkpoint to start from: a folder, or a .gguf file")
      .stands_for(opened_model)
      .required();
  flags.add(
      "vision-tower", fields.vision_tower,
      "with a language model: CLIP or SigLIP folder, which makes a LLaVA-NeXT model, or SigLIP 2 NaFlex folder, which makes the one of DIPE's experiments; its connector knows nothing yet");
  flags
      .add(
          "data", fields.data,
          "plain documents (.txt, .jsonl with `text`, WikiText, dictd, a folder), or conversations in LLaVA's form (.json, .jsonl)")
      .required();
  flags.add("image-folder", fields.image_folder,
            "what names of images start from; default: the folder of --data");
  flags
      .add("stage", fields.stage,
           "pretrain (connector only) or finetune (all): defaults of other flags, see docs/training.md")
      .one_of({"pretrain", "finetune"});
  flags.add("data-form", fields.data_form, "of documents: auto, text, lines, jsonl, wikitext, dictd")
      .one_of({"auto", "text", "lines", "jsonl", "wikitext", "dictd"});
  flags
      .add(
          "template", fields.chat_template,
          "of conversations: own (the checkpoint's chat template), vicuna_v1, qwen, plain; default: plain for pretrain, else own where there is one (LLaVA-NeXT: as the decoder's family)")
      .one_of({"own", "vicuna_v1", "qwen", "plain"});
  flags
      .add("labels", fields.labels,
           "of conversations: intended (answers), or upstream (as the original code has them)")
      .one_of({"intended", "upstream"});
  flags
      .add(
          "max-length", fields.max_length,
          "tokens, images included; longer documents are cut into pieces, longer conversations at the end; default: 2048 for documents, else 4096, 32768 for Qwen")
      .at_least(2);
  flags
      .add("max-bad-rows", fields.max_bad_rows,
           "bad conversations that may be left out; bad_rows.log names them")
      .at_least(0);
  flags.add(
      "token-cache", fields.token_cache,
      "file that keeps the tokens of conversations with images; made anew when data or settings are others");
  flags
      .add(
          "image-move", fields.image_move,
          "an image to the front of its turn: always (Open-LLaVA-NeXT), single (LLaVA-NeXT: only where it is alone), auto (single for qwen and turns with several; own: as they stand)")
      .one_of({"always", "single", "auto"});
  flags.add("pinpoints", fields.pinpoints,
            "how the checkpoint's grids are read: hf or original; default: as its form does");
  flags
      .add("alpha", fields.alpha,
           "transparency: white or drop; default: drop for original checkpoints, else white")
      .one_of({"white", "drop"});
  flags.add("exif", fields.exif, "orientation: apply or ignore").one_of({"apply", "ignore"});
  flags.add("workers", fields.workers, "threads that read images ahead; 0: none").at_least(0);
  flags
      .add("scheme", fields.scheme,
           "position encoding; default: that which the model was trained under, else its own rotation")
      .alias("schemes");
}

void bind_optimisation(Flags& flags, TrainFlags& fields) {
  flags.group("Optimisation");
  flags.add("max-steps", fields.max_steps, "updates; 0: what --epochs comes to").at_least(0);
  flags.add("epochs", fields.epochs, "passes over the data").at_least(1);
  flags.add("batch-size", fields.batch_size, "rows of a micro-batch").at_least(1);
  flags
      .add("accumulation", fields.accumulation,
           "micro-batches of an update; default: 4 for --stage pretrain, 2 for finetune, else 1")
      .at_least(1);
  flags
      .add("loss-weighting", fields.loss_weighting,
           "mean of the means of micro-batches, or of all tokens: micro-batches, tokens")
      .one_of({"micro-batches", "tokens"});
  flags.add("learning-rate", fields.learning_rate, "peak; default: 1e-3 for pretrain, else 2e-5").at_least(0);
  flags.add("min-learning-rate", fields.min_learning_rate, "where the schedule ends").at_least(0);
  flags.add("schedule", fields.schedule, "cosine, linear, constant").one_of({"cosine", "linear", "constant"});
  flags.add("warmup-ratio", fields.warmup_ratio, "share of the updates").between(0, 1);
  flags.add("weight-decay", fields.weight_decay, "of matrices").at_least(0);
  flags.add("beta1", fields.beta1, "of AdamW");
  flags.add("beta2", fields.beta2, "of AdamW");
  flags.add("epsilon", fields.epsilon, "of AdamW").above(0).shown_default("1e-8");
  flags.add("clip-norm", fields.clip_norm, "of all gradients together; 0: none");
  flags.add("train", fields.trained,
            "list of parameters, * matches anything; default: the connector for pretrain, else all");
  flags.add("freeze", fields.freeze, "list of parameters that stay as they are");
  flags.add("group-learning-rates", fields.group_learning_rates,
            "list of PATTERN=RATE in place of --learning-rate; default: a tenth of it for the vision tower");
  flags.add(
      "lora", fields.lora,
      "train low-rank adapters of the decoder's matrices in place of them, for example rank=16,targets=q_proj,k_proj (alpha: twice the rank); what --train names is trained beside them; default rate: 2e-4");
  flags.add("adapter", fields.adapter,
            "folder of adapters in PEFT's form to begin with; rank and targets are theirs");
  flags.add("sampler", fields.sampler, "random, sequential, group_by_modality_length")
      .one_of({"random", "sequential", "group_by_modality_length"});
  flags.add(
      "packing", fields.packing,
      "rows of text of a micro-batch one after the other in place of padding; they do not see each other");
  flags.add("checkpoint-layers", fields.checkpoint_layers,
            "compute each layer again in the backward pass: less memory");
}

void bind_output(Flags& flags, TrainFlags& fields) {
  flags.group("Output");
  flags.add("output", fields.output, "folder: curves.h5, checkpoints/step-N, bad_rows.log").required();
  flags.add("save-every", fields.save_every, "updates between checkpoints; 0: at the end").at_least(0);
  flags.add("keep-last", fields.keep_last, "checkpoints that are kept; 0: all").at_least(0);
  flags.add("log-every", fields.log_every, "updates between progress lines; 0: none").at_least(0);
  flags.add("log", fields.log,
            "list of tensorboard (event files) and jsonl (an object a step, which wandb and trackio take)");
  flags
      .add("log-maps", fields.log_maps,
           "updates between maps of a row's attention (maps/step-N.png, and in --log tensorboard); 0: none")
      .at_least(0);
  flags.add("log-row", fields.log_row,
            "name of the row for maps and criteria; default: the first with an image, else the first");
  flags.add("resume", fields.resume, "auto (the newest of --output, if there is one), or its folder");
  flags.add("allow-change", fields.allow_change, "resume although settings or data are others");
  flags.add("dry-run", fields.dry_run, "check the inputs and print the plan");
  flags.add("tflops", fields.tflops,
            "with --dry-run: TFLOP/s that a process sustains, for the time that the plan takes");
}

}  // namespace

void ProcessFlags::bind(Flags& flags) {
  flags.group("Several processes");
  flags
      .add("shard", shard,
           "what ranks hold a share of: none, optimizer, gradients (and optimizer), parameters (and both)")
      .one_of({"none", "optimizer", "gradients", "parameters"});
  flags.add("timeout", timeout, "seconds after which a rank that does not come along ends the run")
      .between(1, 1e6);
  flags.add("ranks", ranks, "for --dry-run: how many processes to plan for; 0: those that there are")
      .at_least(0);
  flags.add("memory-report", memory_report, "what each rank holds, predicted and measured");
}

void TrainFlags::bind(Flags& flags) {
  bind_data(flags, *this);
  bind_optimisation(flags, *this);
  bind_output(flags, *this);
  processes.bind(flags);
}

}  // namespace ropescope::app::train
