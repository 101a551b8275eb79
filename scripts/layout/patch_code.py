import re,sys,os,subprocess
os.chdir(sys.argv[1])
def rd(f): return open(f).read()
def wr(f,s): open(f,'w').write(s)
def sub(f,*pairs,strict=True):
    s=rd(f)
    for a,b in pairs:
        if a not in s:
            print('NOT FOUND',f,repr(a[:70]))
        s=s.replace(a,b)
    wr(f,s)
# targets in order
s=rd('dlzoo/specs/targets.py'); line='Target = Classes | Values | NextTokens | Actions\n'
s=s.replace(line,'').rstrip('\n')+'\n\n\n'+line; wr('dlzoo/specs/targets.py',s)
# the entry
wr('dlzoo/train.py','''"""Train a model: ``dlzoo train model=lenet data=mnist``, in a checkout also ``python train.py …``."""

from __future__ import annotations

from dlzoo import sweep
from dlzoo.training import launch


def main() -> None:
    """One run, or with ``-m`` a sweep of many."""
    launch.main(sweep)


if __name__ == "__main__":
    main()
''')
s=rd('dlzoo/training/launch.py')
s=s.replace('from typing import TYPE_CHECKING\n','from typing import Protocol\n').replace('from dlzoo import sweep\n','').replace('''if TYPE_CHECKING:
    pass

''','''# torch, lightning and all that needs them are imported in run(): a typo and --help answer without them.
''').replace('''def main() -> None:
    """The command: exit code''','''class Sweeps(Protocol):
    """What takes over where a command line asks for many runs: `dlzoo.sweep`, which is built on this module."""

    def is_asked(self, argv: Sequence[str], /) -> bool: ...
    def run(self, argv: Sequence[str], /) -> int: ...


def main(sweeps: Sweeps | None = None) -> None:
    """The command: exit code''').replace('''        if sweep.is_asked(sys.argv[1:]):
            sys.exit(sweep.run(sys.argv[1:]))
''','''        if sweeps is not None and sweeps.is_asked(sys.argv[1:]):
            sys.exit(sweeps.run(sys.argv[1:]))
''').replace('import sys\nfrom pathlib','import sys\nfrom collections.abc import Sequence\nfrom pathlib')
wr('dlzoo/training/launch.py',s)
# aliases that say what they are
def alias(files,old,new,imp_old,imp_new):
    for f in files:
        s=rd(f)
        if imp_old in s or re.search(rf'\b{old}\b',s):
            s=s.replace(imp_old,imp_new); s=re.sub(rf'(?<![\w.]){old}\b',new,s); wr(f,s)
py=[f for f in subprocess.run(['git','ls-files'],capture_output=True,text=True).stdout.split() if f.endswith('.py') and not f.startswith('tests/legacy')]
for f in py:
    s=t=rd(f)
    # run.run(...) by name of what it does
    if 'training_run' in t:
        t=t.replace('from dlzoo.training import run as training_run','from dlzoo.training.run import run as run_training')
        t=t.replace('training_run.run','run_training')
    if 'utils_memory' in t:
        t=t.replace('from dlzoo.utils import memory as utils_memory','from dlzoo.utils.memory import has_run_out').replace('utils_memory.has_run_out','has_run_out')
    if 'checkpoint_format.' in t or 'checkpoint_load.' in t or 'config_overrides' in t: pass
    if t!=s: wr(f,t)
sub('tests/test_export.py',('load.load(','checkpoint.load('))
# the connection of a trial
s=rd('dlzoo/sweep/channel.py')
s=s.replace('''def report(epoch''','''def connect(sweep: Connection) -> None:
    """Report to this sweep from now on."""
    global _sweep
    _sweep = sweep


def report(epoch''')
if 'import Connection' not in s: s=s.replace('from typing import','from multiprocessing.connection import Connection\nfrom typing import')
wr('dlzoo/sweep/channel.py',s)
s=rd('dlzoo/sweep/worker.py')
s=s.replace('    global _sweep\n    _sweep = sweep\n','    channel.connect(sweep)\n').replace('from dlzoo.sweep.channel import Ended','from dlzoo.sweep import channel\nfrom dlzoo.sweep.channel import Ended')
s=re.sub(r'from dlzoo.sweep.channel import [^\n]*_sweep[^\n]*\n','from dlzoo.sweep.channel import Ended\n',s)
wr('dlzoo/sweep/worker.py',s)
# names of specs from where they are defined
home={}
for m,f in (('dlzoo.specs.targets','dlzoo/specs/targets.py'),('dlzoo.specs.base','dlzoo/specs/base.py'),('dlzoo.specs.environments','dlzoo/specs/environments.py')):
    for n in re.findall(r'^(?:class|def) (\w+)',rd(f),re.M): home[n]=m
home['Target']='dlzoo.specs.targets'
def specs_import(m):
    ind,names=m.group(1),[x.strip() for x in m.group(2).strip('()').replace('\n',' ').split(',') if x.strip()]
    by={}
    for n in names: by.setdefault(home.get(n.split(' as ')[0],'dlzoo.specs.inputs'),[]).append(n)
    return '\n'.join(f'{ind}from {k} import {", ".join(v)}' for k,v in by.items())
for f in py:
    if f.startswith('dlzoo/specs/'): continue
    s=rd(f); t=re.sub(r'^([ \t>]*)from dlzoo\.specs\.inputs import (\([^)]*\)|[^\n#]+)',specs_import,s,flags=re.M)
    if t!=s: wr(f,t)
sub('dlzoo/training/tuning/batch_size.py',('utils_memory.','memory_units.')) if 'utils_memory' in rd('dlzoo/training/tuning/batch_size.py') else None
for f,a,b in (
 ('dlzoo/specs/environments.py','Both stand beside the specs of dlzoo/specs/inputs.py. A batch','Both stand beside those of dlzoo/specs/inputs.py. A batch'),
 ('dlzoo/specs/inputs.py','``frequency`` is the step of time (dlzoo/specs/frequency.py), ``start`` the time of the first row. ``scales`` are the\n    errors','``frequency`` is the step of time (dlzoo/specs/frequency.py), ``start`` the time of the first row. ``scales`` are\n    the errors'),
 ('scripts/bench.py','Ours is `dlzoo.training.run.run` with what runs have by default: Trainer','Ours is `dlzoo.training.run.run` with the defaults of a run: Trainer'),
 ('scripts/bench_agents.py','Ours is `dlzoo.training.run.run` with TensorBoard and all default callbacks, the\nreference','Ours is `dlzoo.training.run.run` with TensorBoard and all default callbacks, the\nreference'.replace('dlzoo.training.run.run','run')),
): sub(f,(a,b))
s=rd('dlzoo/training/tuning/batch_size.py'); s=s.replace('memory_units.in_words','in_words').replace('import has_run_out\n','import has_run_out, in_words\n'); wr('dlzoo/training/tuning/batch_size.py',s)
for f,a,b in (
 ('dlzoo/tasks/base.py','finite, and changes nothing (dlzoo/training/nan_guard/)."""','finite, and changes nothing (training/nan_guard/)."""'),
 ('dlzoo/tasks/base.py','have this mean; see dlzoo/distributed/collectives.py."""','have this mean; see distributed/collectives.py."""'),
): sub(f,(a,b))

for f,a,b in (
 ('tests/mutations.py','"dlzoo.commands.evaluate", "dlzoo.commands.report",\n    "dlzoo.commands.compare",','"dlzoo.commands.evaluate",\n    "dlzoo.commands.report", "dlzoo.commands.compare",'),
 ('tests/test_trust.py','"net.dropout._target_=dlzoo.data.images.digits.Digits"','"net.dropout._target_=dlzoo.data.images"'),
): sub(f,(a,b))
