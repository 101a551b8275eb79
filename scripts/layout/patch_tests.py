import os,sys
os.chdir(sys.argv[1])

def wrap(p):
    s=open(p).read(); lines=s.split('\n')
    for i,l in enumerate(lines[:12]):
        if len(l)>120:
            k=l.rfind(' ',0,118); lines[i]=l[:k]; lines.insert(i+1,l[k+1:]); break
    open(p,'w').write('\n'.join(lines))
for p in ('tests/download_faults.py','tests/load_figures.py','tests/runs/test_two_processes.py'): wrap(p)
p='tests/runs/test_nonfinite_families.py'; s=open(p).read()
s=s.replace('''            command="DLZOO_WRITE_RESULTS=1 pytest tests/runs/test_nonfinite_families.py -m 'reliability or not reliability'",''','''            command="DLZOO_WRITE_RESULTS=1 pytest -m 'reliability or not reliability' "
            "tests/runs/test_nonfinite_families.py",'''); open(p,'w').write(s)
p='scripts/mutants.yaml'; s=open(p).read().replace('(tests/test_<name>.py)','(test_<name>.py)'); open(p,'w').write(s)
p='scripts/mutate.py'; s=open(p).read()
s=s.replace('files = sorted({f"tests/test_{name}.py" for module in chosen for name in TESTS["tests"][module].split()})','names = {name for module in chosen for name in TESTS["tests"][module].split()}\n    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py") if path.stem[5:] in names)')
open(p,'w').write(s)
