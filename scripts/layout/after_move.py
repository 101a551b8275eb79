import re,sys,os
os.chdir(sys.argv[1])
def sub(f,*pairs):
    s=open(f).read()
    for a,b in pairs:
        if a not in s: print('NOT FOUND',f,a[:60])
        s=s.replace(a,b)
    open(f,'w').write(s)
sub('dlzoo/config/compose.py',('_PACKAGE = Path(__file__).resolve().parent\n','_PACKAGE = Path(__file__).resolve().parents[1]\n'))
sub('dlzoo/config/introspection.py',('PACKAGE = Path(__file__).resolve().parent\n','PACKAGE = Path(__file__).resolve().parents[1]\n'))
sub('dlzoo/tasks/base.py',('(dlzoo/training/nan_guard/report.py)','(dlzoo/training/nan_guard/)'))
