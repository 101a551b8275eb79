import os as _os; HERE=_os.path.dirname(_os.path.abspath(__file__))+'/'
"""splits.json in the moved layout, with a docstring for each new module"""
import json
moves=json.load(open(HERE+'moves.json'))
mv,sp=moves['move'],moves['split']
doc={
'dlzoo/training/run.py':'One run from config to results: build, fit, test, report.',
'dlzoo/training/launch.py':'What Hydra calls for each run, and how a mistake is reported.',
'dlzoo/utils/logging.py':'Keep to the messages that a user can act on.',
'dlzoo/training/trainer.py':"Lightning's Trainer, built from the config with the callbacks, loggers and plugins of a run.",
'dlzoo/callbacks/metrics_csv.py':'metrics.csv: a row for each epoch, written and read.',
'dlzoo/utils/formatting.py':'Numbers and sizes as text.',
'dlzoo/inference/predict.py':'Predictions of a trained task for inputs of any kind.',
'dlzoo/commands/inputs.py':'Inputs of the commands: files, folders, standard input and text, as batches.',
'dlzoo/inference/datasets.py':'The data that a checkpoint is tested on: its own, or others that fit it.',
'dlzoo/export/verify.py':'Export a task and compare what the file computes with what PyTorch does.',
'dlzoo/metrics/examples.py':'Examples collected over batches: the first, and the worst predicted.',
'dlzoo/inference/images.py':'Images that a generative task samples.',
'dlzoo/inference/text.py':'Text that a language model continues.',
'dlzoo/checkpoint/format.py':'The format of checkpoints: what they hold, and how they are read and checked.',
'dlzoo/checkpoint/io.py':'How Lightning writes and reads checkpoints here.',
'dlzoo/config/schema.py':'Hold every key of a composed config against the argument that it becomes.',
'dlzoo/config/overrides.py':'Overrides of the command line: parsed, quoted, split from the flags.',
'dlzoo/specs/targets.py':'Targets: what a net learns to predict.',
'dlzoo/specs/base.py':'What all specs have in common, and specs as plain data.',
'dlzoo/sweep/channel.py':'What a trial reports to the sweep that runs it.',
'dlzoo/utils/checkpoint_files.py':'Checkpoint files: whole, plain data, and of dlzoo.',
'dlzoo/training/ranks.py':'The command line of each rank of a run.',
'dlzoo/config/yaml_files.py':'YAML files of runs, read within limits.',
'dlzoo/utils/type_checks.py':'Whether a value is of the type that its place wants, and how to say what is wanted.',
'dlzoo/utils/state_checks.py':'Checks of stored states: of the kind, shape and size that their place takes.',
'dlzoo/commands/rerun_step.py':'Take a step that went wrong once more, and name where numbers stop being finite.',
}
out={}
for a,dsts in sp.items():
    src=mv.get(a,a)
    for d,names in dsts.items():
        d=d.replace('tools/','scripts/')
        out.setdefault(src,{})[d]={'names':names,'doc':doc.get(d,'TODO.')}
json.dump(out,open(HERE+'splits.json','w'),indent=1)
