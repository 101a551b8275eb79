"""move top-level names between modules: python split.py splits.json CHECKOUT"""
import ast, json, os, pathlib, re, subprocess, sys
spec = json.load(open(sys.argv[1])); os.chdir(sys.argv[2])
mod = lambda f: f[:-3].replace('/', '.').removesuffix('.__init__').removeprefix('tests.')

def files():
    out = subprocess.run(['git','ls-files','-o','-c','--exclude-standard'],capture_output=True,text=True).stdout.split('\n')
    return [f for f in out if f.endswith('.py') and os.path.isfile(f) and not f.startswith('tests/legacy')]

def names_of(node):
    if isinstance(node,(ast.FunctionDef,ast.ClassDef,ast.AsyncFunctionDef)): return [node.name]
    if isinstance(node,ast.Assign): return [t.id for t in node.targets if isinstance(t,ast.Name)]
    if isinstance(node,ast.AnnAssign) and isinstance(node.target,ast.Name): return [node.target.id]
    return []

def blocks(src):
    """[(names, start, end)] line ranges (0-based, end exclusive) of top-level definitions, with comments above and docstring below"""
    tree=ast.parse(src); lines=src.split('\n'); body=tree.body; out=[]
    for i,n in enumerate(body):
        ns=names_of(n)
        if not ns: continue
        start=min([n.lineno]+[d.lineno for d in getattr(n,'decorator_list',[])])-1
        while start>0 and lines[start-1].startswith('#') and not lines[start-1].startswith('# ----'): start-=1
        end=n.end_lineno
        if isinstance(n,(ast.Assign,ast.AnnAssign)) and i+1<len(body) and isinstance(body[i+1],ast.Expr) and isinstance(getattr(body[i+1],'value',None),ast.Constant) and isinstance(body[i+1].value.value,str):
            end=body[i+1].end_lineno
        out.append((ns,start,end))
    return out

def header(src):
    """import statements of a module (text), top-level only incl. TYPE_CHECKING blocks"""
    tree=ast.parse(src); lines=src.split('\n'); keep=[]
    for n in tree.body:
        if isinstance(n,(ast.Import,ast.ImportFrom)) or (isinstance(n,ast.If) and 'TYPE_CHECKING' in ast.unparse(n.test)):
            if isinstance(n,ast.ImportFrom) and n.module=='__future__': continue
            keep.append('\n'.join(lines[n.lineno-1:n.end_lineno]))
    return keep

def used(text):
    return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n,ast.Name)} | set(re.findall(r'\b[A-Za-z_]\w*\b', ' '.join(n.value for n in ast.walk(ast.parse(text)) if isinstance(n,ast.Constant) and isinstance(n.value,str) and len(n.value)<80)))

def insert_import(src, stmt):
    tree=ast.parse(src); lines=src.split('\n'); last=0
    for n in tree.body:
        if isinstance(n,(ast.Import,ast.ImportFrom)): last=n.end_lineno
        elif isinstance(n,ast.Expr) and last==0 and isinstance(getattr(n,'value',None),ast.Constant): last=n.end_lineno
    lines.insert(last,stmt); return '\n'.join(lines)

def split(srcf,dstf,names,doc):
    src=open(srcf).read(); B=blocks(src); lines=src.split('\n')
    have={n for ns,_,_ in B for n in ns}
    miss=[n for n in names if n not in have]
    if miss: print('  missing in',srcf,miss)
    names=[n for n in names if n in have]
    if not names: return
    take=[(s,e) for ns,s,e in B if set(ns)&set(names)]
    moved='\n\n\n'.join('\n'.join(lines[s:e]) for s,e in take)
    gone=set(i for s,e in take for i in range(s,e))
    rest='\n'.join(l for i,l in enumerate(lines) if i not in gone)
    M,D=mod(srcf),mod(dstf)
    stay=have-set(names)
    new = not os.path.exists(dstf)
    dst=open(dstf).read() if not new else f'"""{doc}"""\n\nfrom __future__ import annotations\n'
    pathlib.Path(dstf).parent.mkdir(parents=True,exist_ok=True)
    dsthave={n for ns,_,_ in blocks(dst) for n in ns}
    if set(names)&dsthave: print('  CLASH',dstf,set(names)&dsthave)
    for h in header(src): dst=insert_import(dst,h)
    need=used(moved)&stay
    if need: dst=insert_import(dst,f'from {M} import {", ".join(sorted(need))}')
    dst=dst.rstrip('\n')+'\n\n\n'+moved+'\n'
    # the destination may have imported the name from the source
    back=used(rest)&set(names)
    if back: rest=insert_import(rest,f'from {D} import {", ".join(sorted(back))}')
    # a copied header may import the destination from itself
    def own_import(m):
        return ''
    dst=re.sub(rf'^from {re.escape(D)} import (\([^)]*\)|[^\n#]+)\n',own_import,dst,flags=re.M)
    open(srcf,'w').write(rest); open(dstf,'w').write(dst)
    # repo-wide
    srcpkg,_,srcleaf=M.rpartition('.'); dstpkg,_,dstleaf=D.rpartition('.')
    for f in files():
        s=open(f).read(); t=s
        own = f==dstf
        def fix(m):
            ind,body=m.group(1),m.group(2)
            items=[x.strip() for x in body.strip().strip('()').replace('\n',' ').split(',') if x.strip()]
            mv=[x for x in items if x.split(' as ')[0].strip() in names]; kp=[x for x in items if x not in mv]
            if not mv: return m.group(0)
            out=[]
            if kp: out.append(f'{ind}from {M} import {", ".join(kp)}')
            if not own: out.append(f'{ind}from {D} import {", ".join(mv)}')
            return '\n'.join(out) if out else f'{ind}pass  # moved'
        t=re.sub(rf'^([ \t]*)from {re.escape(M)} import (\([^)]*\)|[^\n#]+)',fix,t,flags=re.M)
        # alias.name
        aliases=set()
        if not srcpkg:
            if t!=s: open(f,'w').write(t)
            continue
        for m in re.finditer(rf'^[ \t]*from {re.escape(srcpkg)} import (\([^)]*\)|[^\n#]+)',t,flags=re.M):
            for x in m.group(1).strip('()').replace('\n',' ').split(','):
                a,_,b=x.strip().partition(' as ')
                if a.strip()==srcleaf: aliases.add((b or a).strip())
        if re.search(rf'^[ \t]*import {re.escape(M)}\b',t,flags=re.M): aliases.add(M)
        for m in re.finditer(rf'^(\w+) = importlib.import_module\("{re.escape(M)}"\)',t,flags=re.M): print('  importlib',f,m.group(0))
        for al in aliases:
            pat=re.compile(rf'(?<![\w.]){re.escape(al)}\.({"|".join(map(re.escape,names))})\b')
            if pat.search(t):
                ident=dstleaf
                clash=re.search(rf'(?<![\w."\'/]){dstleaf}\b(?!\.py)',re.sub(r'"""[\s\S]*?"""|#.*','',t))
                alias_al = ident
                already=re.search(rf'from {re.escape(dstpkg)} import [^\n]*\b{dstleaf}\b',t)
                if clash and not already: alias_al=f'{dstpkg.rpartition(".")[2]}_{dstleaf}'; print('  alias',f,alias_al)
                if own:
                    t=pat.sub(lambda m:m.group(1),t)
                else:
                    t=pat.sub(lambda m:f'{alias_al}.{m.group(1)}',t)
                    if not already:
                        stmt=f'from {dstpkg} import {dstleaf}' + (f' as {alias_al}' if alias_al!=dstleaf else '')
                        # put beside each import of the source module (keeps lazy imports lazy)
                        t=re.sub(rf'^([ \t]*)(from {re.escape(srcpkg)} import (?:\([^)]*\b{srcleaf}\b[^)]*\)|[^\n#(]*\b{srcleaf}\b[^\n#]*))',lambda m:f'{m.group(1)}{m.group(2)}\n{m.group(1)}{stmt}',t,flags=re.M)
            for m in re.finditer(rf'(setattr|patch.object)\(\s*{re.escape(al)}, "({"|".join(map(re.escape,names))})"',t): print('  PATCH',f,m.group(0))
        t=re.sub(rf'(["\'`]){re.escape(M)}\.({"|".join(map(re.escape,names))})\b',lambda m:f'{m.group(1)}{D}.{m.group(2)}',t)
        if t!=s: open(f,'w').write(t)

for srcf,dsts in spec.items():
    for dstf,val in dsts.items():
        names,doc=(val['names'],val['doc']) if isinstance(val,dict) else (val,'TODO.')
        print(srcf,'->',dstf); split(srcf,dstf,names,doc)
