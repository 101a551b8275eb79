import os as _os; HERE=_os.path.dirname(_os.path.abspath(__file__))+'/'
import re,sys,os,subprocess,json,shutil
os.chdir(sys.argv[1])
def rd(f): return open(f).read()
def wr(f,s):
    os.makedirs(os.path.dirname(f) or '.',exist_ok=True); open(f,'w').write(s)
def sub(f,*pairs):
    s=rd(f)
    for a,b in pairs:
        if a not in s: print('NOT FOUND',f,repr(a[:70]))
        s=s.replace(a,b)
    wr(f,s)
# new files
for d,_,fs in os.walk(HERE+'new'):
    for f in fs:
        src=os.path.join(d,f); dst=os.path.relpath(src,HERE+'new'); wr(dst,rd(src))
moves=json.load(open(HERE+'moves.json'))['move']
mod=lambda f: f[:-3].replace('/','.')
parts=('dlzoo/nets/','dlzoo/tasks/','dlzoo/data/','dlzoo/callbacks/','dlzoo/schedulers.py','dlzoo/folders.py')
M={mod(a):mod(b) for a,b in moves.items() if a.startswith(parts) and b.startswith('dlzoo/')}
s=rd('dlzoo/config/renames.py').replace('@MODULES@\n',''.join(f'    "{a}": "{b}",\n' for a,b in sorted(M.items())))
wr('dlzoo/config/renames.py',s)
# scripts: thin, without sys.path
for f in os.listdir('scripts'):
    if not f.endswith('.py'): continue
    p='scripts/'+f; s=rd(p)
    s=re.sub(r'# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python\'s.\nsys.path\[0\] = [^\n]*\n\n?','',s)
    s=re.sub(r'sys.path\[0\] = str\(ROOT\)  # here lies an inspect.py\n','',s)
    s=re.sub(r'sys.path.pop\(0\)  # this folder[^\n]*\n','',s)
    wr(p,s)
os.rename('scripts/inspect.py','scripts/inspect_model.py')
for f in subprocess.run(['git','ls-files'],capture_output=True,text=True).stdout.split():
    if f.endswith(('.py','.md','.toml')) and f!='RESULTS.md' and os.path.isfile(f) and not f.startswith('tests/legacy'):
        s=rd(f); t=s.replace('scripts/inspect.py','scripts/inspect_model.py')
        if t!=s: wr(f,t)
# pyproject
s=rd('pyproject.toml')
s=re.sub(r'\[project.scripts\]\n(?:dlzoo-.*\n)+','[project.scripts]\ndlzoo = "dlzoo.__main__:main"\n',s)
s=s.replace('''[tool.ruff.lint.per-file-ignores]
"scripts/*.py" = ["E402"] # they set sys.path first

''','')
s=s.replace('    "hatchling",\n','    "hatchling",\n    "import-linter>=2.1",\n')
s=s.replace('explicit_package_bases = true # scripts.inspect, not inspect\n','explicit_package_bases = true\n')
s=s.replace('[tool.pytest.ini_options]','''# What may import what: each layer only those below it. tests/test_architecture.py and .ci/run check it.
[tool.importlinter]
root_package = "dlzoo"
include_external_packages = true

[[tool.importlinter.contracts]]
name = "Each layer imports only what lies below it"
type = "layers"
containers = ["dlzoo"]
exhaustive = true
layers = [
    "__main__",
    "train",
    "commands",
    "sweep",
    "training",
    "callbacks",
    "export | visualization",
    "inference",
    "checkpoint",
    "config",
    "tasks",
    "metrics",
    "data | nets",
    "rl | layers | losses",
    "distributed | specs | optim",
    "utils",
    "errors",
]

[[tool.importlinter.contracts]]
name = "Nets and what they are made of know neither Lightning nor Hydra"
type = "forbidden"
source_modules = ["dlzoo.nets", "dlzoo.layers", "dlzoo.losses", "dlzoo.specs"]
forbidden_modules = ["lightning", "hydra", "omegaconf"]

[[tool.importlinter.contracts]]
name = "Tasks stand beside each other"
type = "independence"
modules = [
    "dlzoo.tasks.supervised", "dlzoo.tasks.gan", "dlzoo.tasks.vae", "dlzoo.tasks.language", "dlzoo.tasks.forecast",
    "dlzoo.tasks.rl",
]

[tool.pytest.ini_options]''')
wr('pyproject.toml',s)
# packages say what they are for
docs={
'checkpoint':'Checkpoints: the format, how they are written and read, and how a task is rebuilt from one.',
'config':'From the command line and YAML to a checked config, and from a config to the parts that it names.',
'data':'Where batches come from: a module for each kind of data, loaders and splits.',
'data/images':'Images: embedded, published, and folders of the user\'s own; how they are decoded and augmented.',
'data/sequences':'Sequences: generated bits to count.',
'data/series':'Time series: windows of the past, and the values that follow.',
'data/tables':'Tables: embedded, published, generated, and CSV files of the user\'s own.',
'data/text':'Texts with classes, and running text for language models.',
'distributed':'Several processes: how they are started, what they exchange, and what must be alike on all.',
'inference':'What a trained task answers: predictions, samples, activations, episodes.',
'layers':'What nets are made of.',
'losses':'Losses by name, and objectives: a loss with its metrics.',
'metrics':'How models are judged, beyond the metrics of torchmetrics.',
'optim':'Learning-rate schedules.',
'rl':'Reinforcement learning: environments and replay.',
'specs':'Specs: what data promise about their batches, and nets are built from.',
'tasks/rl':'Agents: how they act and learn.',
'training':'One run: build, fit, test, report, and everything that can end it early.',
'training/nan_guard':'Losses and gradients that are not finite: noticed, explained, skipped.',
'training/tuning':'Batch size and learning rate found before a run.',
'utils':'Files, downloads, archives, memory, text: what knows nothing of models.',
'visualization':'Figures and image grids.',
}
for d,t in docs.items():
    f=f'dlzoo/{d}/__init__.py'
    if not os.path.exists(f): print('no',f); continue
    s=rd(f)
    if s.count('\n')<=2 or d in('layers','metrics','rl','visualization'): wr(f,f'"""{t}"""\n')
    else: print('kept',f,s[:80])
# renames applied
sub('dlzoo/checkpoint/load.py',('    return OmegaConf.create(plain)\n','    return OmegaConf.create(plain)\n'))
s=rd('dlzoo/checkpoint/load.py')
s=s.replace('    plain: Any = OmegaConf.to_container(cfg, resolve=False)\n','    plain: Any = renames.updated(OmegaConf.to_container(cfg, resolve=False))\n')
s=s.replace('from dlzoo.config import allowlist as trust\n','from dlzoo.config import allowlist as trust\nfrom dlzoo.config import renames\n')
wr('dlzoo/checkpoint/load.py',s)
sub('dlzoo/config/schema.py',('    OmegaConf.resolve(cfg)\n    plain: Any','    OmegaConf.resolve(cfg)\n    _rename(cfg)\n    plain: Any'),
('from dlzoo.config import introspection as signatures\n','from dlzoo.config import introspection as signatures\nfrom dlzoo.config import renames\n'),
('def _check_settings','''def _rename(cfg: DictConfig) -> None:
    """Put parts under their present names; a line on stderr for each name of an earlier version."""
    for name in NODES:
        node: Any = OmegaConf.to_container(cfg[name], throw_on_missing=False) if cfg.get(name) else {}
        for place, part in signatures.targets(node, name):
            old = part["_target_"]
            if isinstance(old, str) and (new := renames.current(old)) != old:
                print(f"notice: {place}._target_: {old} is now {new}", file=sys.stderr)
                OmegaConf.update(cfg, f"{place}._target_", new)


def _check_settings'''))
s=rd('dlzoo/config/schema.py')
if '\nimport sys\n' not in s: s=s.replace('from __future__ import annotations\n','from __future__ import annotations\n\nimport sys',1)
wr('dlzoo/config/schema.py',s)
# CI
sub('.ci/run',('mypy\n','mypy\nlint-imports\n'))
wr('scripts/forecast.py','''"""Forecast a series: ``python scripts/forecast.py ckpt=<run>/checkpoints/best.ckpt input=recent.csv``; see --help."""

from dlzoo.commands.forecast import main

if __name__ == "__main__":
    main()
''')
wr('scripts/inspect_model.py','''"""Look into a classifier: ``python scripts/inspect_model.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

from dlzoo.commands.inspect_model import main

if __name__ == "__main__":
    main()
''')
s=rd('scripts/mutate.py')
s=s.replace('import sys\nfrom pathlib import Path\n\nROOT = Path(__file__).parents[1]\n\nimport argparse','import argparse')
s=s.replace('import signal\nimport time','import signal\nimport sys\nimport time').replace('from functools import partial\nfrom typing','from functools import partial\nfrom pathlib import Path\nfrom typing')
s=s.replace('\nTESTS = yaml','\nROOT = Path(__file__).parents[1]\n\nTESTS = yaml',1)
wr('scripts/mutate.py',s)
sub('dlzoo/training/resume.py',('    overrides = read(ckpt)["dlzoo"]["overrides"]\n','    overrides = [renames.updated_override(override) for override in read(ckpt)["dlzoo"]["overrides"]]\n'))
s=rd('dlzoo/training/resume.py')
s=s.replace('from dlzoo.config import allowlist as trust\n','from dlzoo.config import allowlist as trust\nfrom dlzoo.config import renames\n'); wr('dlzoo/training/resume.py',s)
sub('scripts/reproduce.py',('    plain: Any = OmegaConf.to_container(cfg, throw_on_missing=False)\n','    plain: Any = renames.updated(OmegaConf.to_container(cfg, throw_on_missing=False))\n'))
s=rd('scripts/reproduce.py')
s=re.sub(r'^(from dlzoo\.config import [^\n]*)$',r'\1\nfrom dlzoo.config import renames',s,count=1,flags=re.M); wr('scripts/reproduce.py',s)
sub('dlzoo/tasks/base.py',('        """The mean over the rows of all ranks, of which this rank\'s rows have this mean; see dlzoo/distributed/collectives.py."""','        """The mean over the rows of all ranks, of which this rank\'s rows have this mean; see `collectives`."""')) if 'see dlzoo/distributed/collectives.py."""' in rd('dlzoo/tasks/base.py') else sub('dlzoo/tasks/base.py',('this mean; see distributed/collectives.py."""','this mean (distributed/collectives)."""'))
s=rd('dlzoo/checkpoint/load.py'); s=re.sub(r'^ +from dlzoo\.checkpoint\.load import [^\n]*\n\n?','',s,flags=re.M); wr('dlzoo/checkpoint/load.py',s)
wr('dlzoo/optim/__init__.py','"""Learning-rate schedules by name: how the rate changes in a run."""\n')

wr('train.py','"""Train a model: ``python train.py model=lenet data=mnist``; ``python train.py --help`` lists all choices."""\n\nfrom dlzoo.train import main\n\nif __name__ == "__main__":\n    main()\n')
import glob
for f in subprocess.run(['git','ls-files'],capture_output=True,text=True).stdout.split():
    if not f.endswith('.py') or not os.path.isfile(f) or f.startswith(('dlzoo/','tests/legacy')): continue
    s=t=rd(f)
    t=t.replace('from dlzoo.training.launch import main','from dlzoo.train import main')
    if re.search(r'(?<![\w.])launch\.main\b',t):
        t=re.sub(r'(?<![\w.])launch\.main\b','train.main',t)
        t=re.sub(r'^([ \t]*)from dlzoo\.training import ([^\n]*)\blaunch\b([^\n]*)$',r'\1from dlzoo import train\n\1from dlzoo.training import \2launch\3',t,flags=re.M)
    if 'train.resumed(' in t:
        t=t.replace('train.resumed(','resumed(')
        t=re.sub(r'^(from dlzoo[^\n]*)$',r'\1\nfrom dlzoo.training.resume import resumed',t,count=1,flags=re.M)
    t=t.replace('mock.patch.object(build, "build_trainer"','mock.patch.object(training_trainer, "build_trainer"').replace('build, "build_trainer", functools','training_trainer, "build_trainer", functools')
    t=t.replace('monkeypatch.setattr(predict, "BATCH_SIZE", 3)','monkeypatch.setattr("dlzoo.commands.inputs.BATCH_SIZE", 3)')
    t=t.replace('for module in ("loaders", "text_loaders"):','for module in ("loaders", "text.loaders"):')
    t=t.replace('monkeypatch.setattr(train_module, "run"','monkeypatch.setattr(launch, "run"')
    if t!=s: wr(f,t)
for f in glob.glob('dlzoo/nets/*.py'):
    s=rd(f); t=s.replace('>>> from dlzoo.layers import layers\n','>>> from dlzoo.layers import basic as layers\n')
    if t!=s: wr(f,t)

for f in ('reproduce','export_matrix','compare_searches'):
    p=f'scripts/{f}.py'; t=rd(p)
    if '__main__' not in t: wr(p,t.rstrip('\n')+'\n\n\nif __name__ == "__main__":\n    main()\n')
s=rd('README.md'); i=s.index('## Read the code'); wr('README.md',s[:i]+open(HERE+'readme_layers.md').read())
