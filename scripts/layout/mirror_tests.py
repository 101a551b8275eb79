"""tests mirror the package"""
import re,sys,os,subprocess
os.chdir(sys.argv[1])
PLACES={
'architecture reproduce readme wheel main':'.',
'experiments golden legacy any_input bad_input load survival kills attacks_configs attacks_files audit odd_paths two_processes continued changed_data nonfinite_families devices':'runs',
'bench bench_ddp reliability_table':'scripts',
'augment decode image_folder images split_folders unreadable_images':'data/images',
'csv tables gates synthetic':'data/tables',
'published_text stream text_cache text_csv text_loaders':'data/text',
'series':'data/series',
'counting':'data/sequences',
'cached_features data_base fingerprint loaders sharding splits test_rows workers environments':'data',
'agents':'tasks/rl','play':'commands','replay':'rl',
'autoencoders gan vae language learning_rules supervised task_base transfer_ways picture_models':'tasks',
'backbone embedding layers recurrent':'layers',
'generative_nets net_definitions nets leak':'nets',
'checkpoint durable':'checkpoint',
'cli compare evaluate export filter_image forecast inspection predict pretrained report sample sample_images text_commands':'commands',
'config renames trust training_memory untrusted':'config',
'files locks transfer':'utils',
'forecasting sample_measures trigram':'metrics',
'frequency tokenizer transform':'specs',
'gathering launcher':'distributed',
'gradient_norms history last_checkpoint measured_reports progress sample_pictures tensorboard text_callbacks':'callbacks',
'losses objectives':'losses',
'lr_find memory nonfinite profiling resume resume_state train':'training',
'made_pictures net_pictures pictures series_pictures':'visualization',
'places trace':'inference',
'scanned':'export',
'schedulers':'optim',
'sweep_grid sweep_killed sweep_search':'sweep',
}
move={}
for names,d in PLACES.items():
    for n in names.split():
        a=f'tests/test_{n}.py'
        if not os.path.isfile(a): print('no',a); continue
        if d!='.': move[a]=f'tests/{d}/test_{n}.py'
# downloads' transfer is utils
if os.path.isfile('tests/test_transfer.py') and 'utils.http' in open('tests/test_transfer.py').read(): pass
left=[f for f in os.listdir('tests') if f.startswith('test_') and f'tests/{f}' not in move and f[5:-3] not in 'architecture reproduce readme wheel main']
print('left',left)
for a,b in move.items():
    os.makedirs(os.path.dirname(b),exist_ok=True); subprocess.run(['git','mv',a,b],check=True)
    d=b.count('/')-1
    s=open(b).read()
    s=re.sub(r'Path\(__file__\)(\.resolve\(\))?\.parents\[1\]',lambda m:f'Path(__file__){m.group(1) or ""}.parents[{1+d}]',s)
    s=re.sub(r'Path\(__file__\)(\.resolve\(\))?\.parent\.parent\b',lambda m:f'Path(__file__){m.group(1) or ""}.parents[{1+d}]',s)
    s=re.sub(r'Path\(__file__\)(\.resolve\(\))?\.parent\b(?!s)',lambda m:f'Path(__file__){m.group(1) or ""}.parents[{d}]',s)
    open(b,'w').write(s)
pat=re.compile('|'.join(re.escape(a)+r'\b' for a in sorted(move,key=len,reverse=True)))
for f in subprocess.run(['git','ls-files'],capture_output=True,text=True).stdout.split():
    if f in('RESULTS.md',) or f.startswith('tests/legacy') or not f.endswith(('.py','.md','.json','.yaml','.toml')) or not os.path.isfile(f): continue
    s=open(f).read(); t=pat.sub(lambda m:move[m.group(0)],s)
    if t!=s: open(f,'w').write(t)
# names of test files in the mutation map
f='scripts/mutants.yaml'
if os.path.exists(f):
    s=open(f).read()
    names={os.path.basename(a)[:-3]:b for a,b in move.items()}
    print([l for l in s.split('\n') if 'test_' in l][:4])
