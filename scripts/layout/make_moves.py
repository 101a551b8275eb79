import os as _os; HERE=_os.path.dirname(_os.path.abspath(__file__))+'/'
import json
m=json.load(open(HERE+'first_moves.json'))
mv={a:b.replace('tools/','scripts/') for a,b in m['move'].items()}
mv={a:b for a,b in mv.items() if a!=b}
mv['dlzoo/reliability.py']='scripts/reliability.py'
mv['dlzoo/ranks.py']='dlzoo/distributed/launch.py'
mv.update({
'dlzoo/batch_norm.py':'dlzoo/distributed/batch_norm.py',
'dlzoo/changed_data.py':'dlzoo/checkpoint/data_changes.py',
'dlzoo/config_files.py':'dlzoo/config/files.py',
'dlzoo/csv_files.py':'dlzoo/utils/csv_writer.py',
'dlzoo/locks.py':'dlzoo/utils/locks.py',
'dlzoo/noise.py':'dlzoo/distributed/noise.py',
'dlzoo/launcher.py':'dlzoo/distributed/ddp.py',
'dlzoo/resume_state.py':'dlzoo/training/restore.py',
'dlzoo/run_files.py':'dlzoo/config/run_files.py',
'dlzoo/run_paths.py':'dlzoo/checkpoint/run_paths.py',
'dlzoo/training_memory.py':'dlzoo/config/memory_check.py',
'dlzoo/untrusted.py':'dlzoo/utils/untrusted.py',
})
sp=m['split']
sp['dlzoo/resume_state.py']={'dlzoo/utils/state_checks.py':['FAILURES','LARGEST','restoring','fits','check_tensor','is_dense','tensors','score','counter','number','is_number','mapping','sequence','describe','refuse','ABSENT']}
sp['dlzoo/memory.py']={'dlzoo/utils/memory.py':['UNITS','SIGNS','has_run_out','in_words']}

sp['dlzoo/results.py']['dlzoo/callbacks/metrics_csv.py']+=['MOST_EPOCHS','MOST_ROWS']
sp['dlzoo/callbacks/history.py']['dlzoo/callbacks/metrics_csv.py']+=['cells']
sp['dlzoo/tasks/supervised.py']={'dlzoo/tasks/base.py':['Batch']}
sp['dlzoo/beside.py']={'dlzoo/tasks/base.py':['BESIDE']}
sp['dlzoo/ranks.py']={'dlzoo/training/ranks.py':['prepared','warn_of_shared_store']}
c=sp.pop('dlzoo/checkpoint.py')
c={'dlzoo/utils/checkpoint_files.py':['read','FORMAT','_first'],**c}
c['dlzoo/checkpoint/format.py']=['whole','is_whole','make_card']
sp['dlzoo/checkpoint.py']=c
sp['dlzoo/train.py']['dlzoo/training/launch.py'].insert(0,'main')
sp['dlzoo/untrusted.py']={'dlzoo/config/yaml_files.py':['parse_yaml','read_yaml']}
sp['dlzoo/config.py']['dlzoo/config/overrides.py']+=['_in_quotes','value_of']
sp['dlzoo/sweep/worker.py']['dlzoo/sweep/channel.py']+=['_sweep']
sp['dlzoo/config.py']['dlzoo/config/schema.py']+=['check_claims']
sp['dlzoo/signatures.py']={'dlzoo/utils/type_checks.py':['check_value','_fits','_wanted','_choices','readable']}
sp.pop('dlzoo/commands/cli.py')
sp['dlzoo/export/command.py'].pop('dlzoo/export/verify.py')
json.dump({'move':mv,'split':sp},open(HERE+'moves.json','w'),indent=1)
